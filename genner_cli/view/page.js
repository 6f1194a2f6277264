// The page: what is at hand, what keys and controls do, and what is drawn anew after each.

const $ = (id) => document.getElementById(id);
const count = (number, what, many = `${what}s`) => `${number.toLocaleString('en')} ${number === 1 ? what : many}`;
let numbers = []; // the documents of the list, as places in data.documents
let current = 0; // the document that is shown, as a place in numbers
let marks = [];
let selected = null;
let waiting = 0;

function draw() {
  if (filter.query && filter.scope === 'mentions') find();
  drawFilters();
  show(current);
}

/** Draws everything anew, once for all changes since the last frame. */
function update() {
  waiting ||= requestAnimationFrame(() => {
    waiting = 0;
    draw();
  });
}

/** Fills the list with the documents in which the search finds something; the shown document stays if it is one. */
function find() {
  const before = numbers[current];
  let hits = 0;
  numbers = [];
  data.documents.forEach((record, number) => {
    const { ranges, inId } = search(record, number);
    if (ranges.length || inId || !filter.query) numbers.push(number);
    hits += ranges.length + inId;
  });
  $('hits').value = filter.query ? `${count(hits, 'hit')} in ${count(numbers.length, 'document')}` : '';
  current = Math.max(0, numbers.indexOf(before));
}

function show(place) {
  current = place;
  drawDocument(numbers[place]);
  reveal(place);
  drawList(numbers, place);
}

function drawDocument(number) {
  const record = data.documents[number] ?? { text: '', entities: [], gold: [], id: 'No document matches the search' };
  const seen = shown(record);
  const ghosts = new Set(seen.filter(hasOtherRange).map(({ gold }) => gold));
  const all = [...seen, ...ghosts].sort((a, b) => a.start - b.start || b.end - a.end);
  marks = located(record, all).map((mark) => ({ ...mark, ghost: ghosts.has(mark.entity), elements: [] }));
  $('name').textContent = nameOf(record, number);
  $('place').textContent = numbers.length ? `${(current + 1).toLocaleString('en')} of ${numbers.length.toLocaleString('en')}` : '';
  $('previous').disabled = current === 0;
  $('next').disabled = current + 1 >= numbers.length;
  $('failure').hidden = !record.error;
  $('failure').textContent = `⚠ failed: ${record.error}`;
  drawFields(record);
  fillText($('text'), record.text, marks, numbers.length ? search(record, number).ranges : []);
  select(null);
}

/** All that came with the document but its id, which is its heading. */
function drawFields(record) {
  const pairs = Object.entries(record.fields ?? {})
    .map(([name, value]) => [name, typeof value === 'string' ? value : JSON.stringify(value)])
    .filter(([, value]) => value !== record.id);
  $('more').hidden = !record.source;
  $('brief').textContent = [...pairs.map((pair) => pair.join(': ')), record.source].join(' · ').slice(0, 300);
  const all = [...pairs, ['read from', record.source]];
  $('fields').replaceChildren(...all.flatMap(([name, value]) => [make('dt', '', name), make('dd', '', value)]));
}

function select(mark) {
  for (const element of selected?.elements ?? []) element.classList.remove('selected');
  selected = mark;
  for (const element of mark?.elements ?? []) element.classList.add('selected');
  mark?.elements[0].scrollIntoView({ block: 'nearest' });
  tell(mark);
}

function tell(mark) {
  const { text } = data.documents[numbers[current]] ?? {};
  const what = data.gold ? 'difference to gold' : 'entity';
  const hint = `Select an entity to see its score, or press n for the next ${what}`;
  $('entity').replaceChildren(...(mark ? described(mark.entity, text.slice(mark.from, mark.to)) : [hint]));
}

function step(by) {
  if (!(current + by in numbers)) return;
  show(current + by);
  $('document').scrollTop = 0;
}

/** Selects the next difference (any entity where there is no gold), in this document or in those behind it. */
function stepStop(by) {
  const stops = () => marks.filter((mark) => !mark.ghost && isStop(mark.entity));
  const here = stops();
  const next = selected ? here.indexOf(selected) + by : by > 0 ? 0 : here.length - 1;
  if (here[next]) return select(here[next]);
  for (let place = current + by; place >= 0 && place < numbers.length; place += by) {
    if (!shown(data.documents[numbers[place]]).some(isStop)) continue;
    step(place - current);
    return select(stops().at(by > 0 ? 0 : -1));
  }
  $('entity').textContent = `No ${by > 0 ? 'more' : 'earlier'} ${data.gold ? 'difference' : 'entity'}`;
}

function toggle(set, value) {
  if (!set.delete(value)) set.add(value);
  update();
}

function filterButton(content, set, value) {
  const button = make('button', 'filter', ...content, make('span', 'count'));
  button.addEventListener('click', () => toggle(set, value));
  button.draw = (number) => {
    button.ariaPressed = String(!set.has(value));
    button.lastChild.textContent = number.toLocaleString('en');
  };
  return button;
}

function makeFilters() {
  const { labels } = tally(data.documents);
  const order = [...labels.keys()].sort((a, b) => labels[b] - labels[a]);
  const labelButtons = order.map((label) => {
    const [name, hue] = data.labels[label];
    const button = filterButton([make('i', 'swatch'), make('bdi', '', name)], filter.hiddenLabels, label);
    button.style.setProperty('--hue', hue);
    return Object.assign(button, { label });
  });
  const all = make('button', 'all');
  all.addEventListener('click', () => {
    const hide = filter.hiddenLabels.size === 0;
    filter.hiddenLabels.clear();
    if (hide) order.forEach((label) => filter.hiddenLabels.add(label));
    update();
  });
  $('labels').replaceChildren(...labelButtons, ...(order.length > 2 ? [all] : []));
  const verdictButtons = data.verdicts.map(([name], verdict) => {
    const icon = make('span', `icon ${CLASSES[verdict]}`, ICONS[verdict]);
    icon.ariaHidden = 'true';
    return filterButton([icon, name], filter.hiddenVerdicts, verdict);
  });
  $('verdicts').replaceChildren(...verdictButtons);
  return { labelButtons, verdictButtons, all };
}

function drawFilters() {
  const { labels, verdicts } = tally(data.documents);
  for (const button of buttons.labelButtons) button.draw(labels[button.label]);
  buttons.verdictButtons.forEach((button, verdict) => button.draw(verdicts[verdict]));
  buttons.all.textContent = filter.hiddenLabels.size ? 'show all' : 'hide all';
  $('least-shown').value = filter.least.toFixed(2);
  $('summary').textContent = summary(labels, verdicts);
}

function summary(labels, verdicts) {
  const shownLabel = ({ label }) => !filter.hiddenLabels.has(label);
  const failed = data.documents.filter(({ error }) => error).length;
  const documents = count(data.documents.length, 'document') + (failed ? `, ${failed.toLocaleString('en')} failed` : '');
  if (!data.gold) {
    const entities = labels.reduce((sum, number, label) => sum + (shownLabel({ label }) ? number : 0), 0);
    return `${documents} · ${count(entities, 'entity', 'entities')}`;
  }
  const gold = data.documents.reduce((sum, record) => sum + record.gold.filter(shownLabel).length, 0);
  const predicted = verdicts.slice(0, MISSED).reduce((sum, number) => sum + number, 0);
  const percent = (share) => (100 * share || 0).toFixed(1);
  const [precision, recall, f1] = [predicted, gold, (predicted + gold) / 2].map((all) => percent(verdicts[HIT] / all));
  return `${documents}\nprecision ${precision} · recall ${recall} · F1 ${f1}`;
}

function browse(open) {
  document.body.classList.toggle('browsing', open);
  $('browse').ariaExpanded = String(open);
  drawList(numbers, current);
}

const KEYS = {
  j: () => step(1),
  k: () => step(-1),
  ArrowRight: () => step(1),
  ArrowLeft: () => step(-1),
  n: () => stepStop(1),
  p: () => stepStop(-1),
  '/': () => $('query').select(),
  '?': () => $('help').showModal(),
};
const page = () => Math.max(1, Math.floor(list.clientHeight / rowHeight) - 1);
const to = (place) => step(Math.min(numbers.length - 1, Math.max(0, place)) - current);
const LIST_KEYS = {
  ArrowDown: () => step(1),
  ArrowUp: () => step(-1),
  PageDown: () => to(current + page()),
  PageUp: () => to(current - page()),
  Home: () => to(0),
  End: () => to(numbers.length - 1),
  Enter: () => browse(false),
};

document.addEventListener('keydown', (event) => {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || $('help').open) return;
  if (target === $('query') && (key === 'Enter' || key === 'Escape')) {
    seek();
    $('document').focus();
    $('text').querySelector('.found')?.scrollIntoView({ block: 'center' });
    return;
  }
  if (target.matches('[type=search], select') || (target.matches('[type=range]') && key.startsWith('Arrow'))) return;
  const action = (target === list || target === document.body ? LIST_KEYS[key] : undefined) ?? KEYS[key];
  if (!action) return;
  event.preventDefault();
  action();
});

let typed = 0;
function seek() {
  clearTimeout(typed);
  filter.query = $('query').value.trim();
  filter.scope = $('scope').value;
  find();
  draw();
}
$('query').addEventListener('input', () => {
  clearTimeout(typed);
  typed = setTimeout(seek, 100);
});
$('scope').addEventListener('change', seek);
$('least').addEventListener('input', () => {
  filter.least = Number($('least').value);
  update();
});
$('previous').addEventListener('click', () => step(-1));
$('next').addEventListener('click', () => step(1));
$('ask').addEventListener('click', () => $('help').showModal());
$('browse').addEventListener('click', () => browse(!document.body.classList.contains('browsing')));
list.addEventListener('scroll', () => drawList(numbers, current));
window.addEventListener('resize', () => drawList(numbers, current));
rows.addEventListener('click', ({ target }) => {
  const place = target.closest('.row')?.dataset.place;
  if (place === undefined) return;
  step(place - current);
  browse(false);
});
const markOf = ({ target }) => target.closest('mark:not(.ghost)')?.mark ?? null;
$('text').addEventListener('click', (event) => select(markOf(event)));
$('text').addEventListener('pointerover', (event) => tell(markOf(event) ?? selected));

const buttons = makeFilters();
document.title = data.title;
$('title').textContent = data.title;
$('gold').textContent = data.gold ?? '';
$('against').hidden = $('verdicts').hidden = !data.gold;
$('score').hidden = !data.documents.some(({ entities }) => entities.some(({ score }) => score !== null));
$('help-stops').textContent = `next, previous ${data.gold ? 'difference to gold' : 'entity'}, in other documents too`;
find();
draw();
