// The list of documents. Only the rows that can be seen are in the page, however many documents there are.

const list = document.getElementById('list');
const rows = document.getElementById('rows');
const BEYOND = 4;
let rowHeight = 0;

/** Draws the rows in sight of `numbers`, which are places in `data.documents`; `current` is a place in `numbers`. */
function drawList(numbers, current) {
  rowHeight ||= parseFloat(getComputedStyle(list).getPropertyValue('--row'));
  rows.style.height = `${numbers.length * rowHeight}px`;
  const first = Math.max(0, Math.floor(list.scrollTop / rowHeight) - BEYOND);
  const last = Math.min(numbers.length, Math.ceil((list.scrollTop + list.clientHeight) / rowHeight) + BEYOND);
  const drawn = numbers.slice(first, last).map((number, i) => row(number, first + i, numbers.length, current));
  rows.replaceChildren(...drawn);
  if (current >= first && current < last) list.setAttribute('aria-activedescendant', `row-${current}`);
  else list.removeAttribute('aria-activedescendant');
}

function row(number, place, all, current) {
  const record = data.documents[number];
  const element = make('div', 'row', make('bdi', 'row-name', nameOf(record, number)), rowCounts(record));
  element.id = `row-${place}`;
  element.role = 'option';
  element.ariaSelected = String(place === current);
  element.ariaSetSize = String(all);
  element.ariaPosInSet = String(place + 1);
  element.style.top = `${place * rowHeight}px`;
  element.dataset.place = place;
  return element;
}

function rowCounts(record) {
  const { labels, verdicts } = tally([record]);
  const counts = make('span', 'row-counts');
  if (record.error) counts.append(make('span', 'failed', '⚠ failed'));
  if (!data.gold && !record.error) {
    const count = labels.reduce((sum, n, label) => sum + (filter.hiddenLabels.has(label) ? 0 : n), 0);
    counts.append(count === 1 ? '1 entity' : `${count.toLocaleString('en')} entities`);
  }
  for (const [verdict, count] of data.gold ? verdicts.entries() : []) {
    if (!count || filter.hiddenVerdicts.has(verdict)) continue;
    const shown = make('span', CLASSES[verdict], `${ICONS[verdict]} ${count}`);
    shown.title = `${count} ${data.verdicts[verdict][0]}`;
    counts.append(shown, ' ');
  }
  return counts;
}

/** Scrolls the list so that a place in it can be seen. */
function reveal(place) {
  rowHeight ||= parseFloat(getComputedStyle(list).getPropertyValue('--row'));
  const top = place * rowHeight;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + rowHeight > list.scrollTop + list.clientHeight) list.scrollTop = top + rowHeight - list.clientHeight;
}
