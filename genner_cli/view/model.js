'use strict';
// What of the data is shown: scores, labels and verdicts let through, and what a search finds. Draws nothing.

const data = JSON.parse(document.getElementById('data').textContent);
const [HIT, WRONG_LABEL, WRONG_BOUNDARY, WRONG_BOTH, SPURIOUS, MISSED] = data.verdicts.keys();
const filter = { least: 0, hiddenLabels: new Set(), hiddenVerdicts: new Set(), query: '', scope: 'all' };

for (const record of data.documents) {
  record.gold = (record.gold ?? []).map(([start, end, label]) => ({ start, end, label, verdict: MISSED, answer: null }));
  record.entities = record.entities.map(([start, end, label, score, verdict, at]) => {
    const entity = { start, end, label, score, verdict, gold: record.gold[at] };
    if (entity.gold) entity.gold.answer = entity;
    return entity;
  });
}

const passes = (entity) => entity.score === null || entity.score >= filter.least;
const isMissed = (gold) => !gold.answer || !passes(gold.answer);
const isShown = (entity) => !filter.hiddenLabels.has(entity.label) && !filter.hiddenVerdicts.has(entity.verdict);
const hasOtherLabel = ({ verdict }) => verdict === WRONG_LABEL || verdict === WRONG_BOTH;
const hasOtherRange = ({ verdict }) => verdict === WRONG_BOUNDARY || verdict === WRONG_BOTH;
const isStop = (entity) => !data.gold || entity.verdict !== HIT;

/** The entities predicted with enough score, and the gold ones that none of these stands for. */
function judged(record) {
  return [...record.entities.filter(passes), ...record.gold.filter(isMissed)];
}

/** The entities that are shown, in the order of their starts, the longer first. */
function shown(record) {
  return judged(record).filter(isShown).sort((a, b) => a.start - b.start || b.end - a.end || a.label - b.label);
}

/** How many entities of each label and of each verdict there are in some documents, whatever is hidden. */
function tally(records) {
  const labels = new Array(data.labels.length).fill(0);
  const verdicts = new Array(data.verdicts.length).fill(0);
  for (const record of records) {
    for (const entity of judged(record)) {
      if (!filter.hiddenVerdicts.has(entity.verdict)) labels[entity.label]++;
      if (!filter.hiddenLabels.has(entity.label)) verdicts[entity.verdict ?? HIT]++;
    }
  }
  return { labels, verdicts };
}

/** Offsets in code points -> offsets in UTF-16 units of the same text. */
function units(text, points) {
  const found = new Map();
  let point = 0;
  let unit = 0;
  for (const wanted of [...new Set(points)].sort((a, b) => a - b)) {
    for (; point < wanted; point++) unit += text.codePointAt(unit) > 0xffff ? 2 : 1;
    found.set(wanted, unit);
  }
  return found;
}

/** Entities with `from` and `to`, their boundaries in UTF-16 units. */
function located(record, entities) {
  const at = units(record.text, entities.flatMap(({ start, end }) => [start, end]));
  return entities.map((entity) => ({ entity, from: at.get(entity.start), to: at.get(entity.end) }));
}

const pattern = () => new RegExp(filter.query.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'), 'giu');
const nameOf = (record, number) => record.id ?? `document ${(number + 1).toLocaleString('en')}`;

/** Where the search finds something in a document: ranges of its text in UTF-16 units, and whether its id matches. */
function search(record, number) {
  if (!filter.query) return { ranges: [], inId: false };
  const inId = filter.scope !== 'mentions' && pattern().test(nameOf(record, number));
  const inText = filter.scope === 'ids' ? [] : rangesIn(record.text, 0);
  if (filter.scope !== 'mentions' || !inText.length) return { ranges: inText, inId };
  const mentions = located(record, shown(record));
  return { ranges: mentions.flatMap(({ from, to }) => rangesIn(record.text.slice(from, to), from)), inId };
}

function rangesIn(text, offset) {
  return Array.from(text.matchAll(pattern()), (match) => [offset + match.index, offset + match.index + match[0].length]);
}
