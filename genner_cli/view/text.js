// A text and its entities -> elements: nested where entities nest, cut where they cross, a line for each below the text.

const ICONS = data.verdicts.map(([, icon]) => icon);
const CLASSES = data.verdicts.map(([name]) => name.replaceAll(' ', '-'));

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** Gives each mark the number of its line, such that marks that overlap have different ones and inner ones come first. */
function assignLines(marks) {
  let running = [];
  let together = [];
  for (const mark of marks) {
    running = running.filter((other) => other.to > mark.from);
    if (!running.length) together = turned(together);
    const taken = new Set(running.map((other) => other.line));
    mark.line = running.reduce((line, other) => (other.to < mark.to ? line : Math.max(line, other.line + 1)), 0);
    while (taken.has(mark.line)) mark.line++;
    running.push(mark);
    together.push(mark);
  }
  turned(together);
}

const highest = (marks) => marks.reduce((most, { line }) => Math.max(most, line), 0);

/** Turns the lines of marks upside down: the outermost was first, and is last now. */
function turned(marks) {
  const most = highest(marks);
  for (const mark of marks) mark.line = most - mark.line;
  return [];
}

/** Fills `target` with the text, `marks` around their ranges and `ranges` emphasised; all sorted by their starts. */
function fillText(target, text, marks, ranges) {
  assignLines(marks);
  const starts = paragraphs(text, marks);
  const boundaries = [...starts, text.length, ...marks.flatMap(({ from, to }) => [from, to]), ...ranges.flat()];
  const cuts = [...new Set(boundaries)].sort((a, b) => a - b);
  const open = [];
  const blocks = [];
  let nextMark = 0;
  let nextRange = 0;
  for (let i = 0; i + 1 < cuts.length; i++) {
    const at = cuts[i];
    const covering = open.map(({ mark }) => mark).filter((mark) => mark.to > at);
    while (nextMark < marks.length && marks[nextMark].from === at) covering.push(marks[nextMark++]);
    if (starts.has(at)) {
      reopen(null, open, [], at);
      blocks.push(make('p', text[at] === '\n' ? 'blank' : ''));
    }
    reopen(blocks.at(-1), open, covering, at);
    while (nextRange < ranges.length && ranges[nextRange][1] <= at) nextRange++;
    const piece = text.slice(at, cuts[i + 1]);
    const found = nextRange < ranges.length && ranges[nextRange][0] <= at;
    (open.at(-1)?.element ?? blocks.at(-1)).append(found ? make('span', 'found', piece) : piece);
  }
  reopen(null, open, [], text.length);
  target.replaceChildren(...blocks);
}

/** Where the text's lines begin, but for those that begin within a mark. */
function paragraphs(text, marks) {
  const found = new Set([0]);
  let next = 0;
  let end = 0;
  for (let at = text.indexOf('\n') + 1; at; at = text.indexOf('\n', at) + 1) {
    for (; next < marks.length && marks[next].from < at; next++) end = Math.max(end, marks[next].to);
    if (end <= at) found.add(at);
  }
  return found;
}

/** Closes open elements down to those that continue, and opens the others of `covering`. */
function reopen(block, open, covering, at) {
  let kept = 0;
  while (kept < open.length && open[kept].mark === covering[kept]) kept++;
  while (open.length > kept) close(open.pop(), at);
  for (const mark of covering.slice(kept)) {
    const element = markElement(mark, mark.from === at);
    (open.at(-1)?.element ?? block).append(element);
    open.push({ mark, element });
    block.style.setProperty('--lines', Math.max(mark.line, block.style.getPropertyValue('--lines')));
  }
}

function close({ mark, element }, at) {
  if (mark.to !== at) return;
  element.classList.add('ends');
  if (!mark.ghost) element.append(tag(mark.entity));
}

function markElement(mark, starts) {
  const element = make('mark', starts ? 'starts' : '');
  if (mark.ghost) element.classList.add('ghost');
  else if (data.gold) element.classList.add(CLASSES[mark.entity.verdict]);
  element.style.setProperty('--level', mark.line);
  element.style.setProperty('--hue', data.labels[mark.entity.label][1]);
  element.mark = mark;
  mark.elements.push(element);
  return element;
}

/** The label behind a mention, with what became of it. */
function tag(entity) {
  const { label, verdict, gold } = entity;
  const name = make('bdi', '', data.labels[label][0]);
  if (!data.gold) return make('small', 'tag', name);
  const icon = make('span', 'tag-icon', ICONS[verdict]);
  icon.ariaHidden = 'true';
  const meant = hasOtherLabel(entity) ? [make('s', '', name), ' ', make('bdi', '', data.labels[gold.label][0])] : [name];
  return make('small', 'tag', icon, make('span', 'spoken', ` ${data.verdicts[verdict][0]}: `), ...meant);
}

/** What there is to say of an entity, in one line. */
function described(entity, mention) {
  const parts = [make('strong', '', make('bdi', '', mention)), make('bdi', '', data.labels[entity.label][0])];
  if (entity.score !== null && entity.score !== undefined) parts.push(`score ${entity.score}`);
  parts.push(`${entity.start}–${entity.end}`);
  if (data.gold) parts.push(verdictText(entity));
  return parts.map((part) => make('span', '', part));
}

function verdictText(entity) {
  const { verdict, gold } = entity;
  const expected = [];
  if (hasOtherLabel(entity)) expected.push(data.labels[gold.label][0]);
  if (hasOtherRange(entity)) expected.push(`${gold.start}–${gold.end}`);
  return `${ICONS[verdict]} ${data.verdicts[verdict][0]}${expected.length ? `, gold has ${expected.join(' ')}` : ''}`;
}
