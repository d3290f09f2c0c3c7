// The notation in which hostile bytes are written down, as `tests/gateway/hostile_case.rs` reads it.

// `bytesMax` shortens what is written as so many times the same.
export function bytes(text, bytesMax = Infinity) {
  const parts = [];
  for (let at = 0; at < text.length; ) {
    if (text[at] !== '\\') {
      const end = text.indexOf('\\', at) < 0 ? text.length : text.indexOf('\\', at);
      parts.push(Buffer.from(text.slice(at, end)));
      at = end;
      continue;
    }
    const kind = text[at + 1];
    at += 2;
    if (kind === 'x') {
      parts.push(Buffer.from(text.slice(at, at + 2), 'hex'));
      at += 2;
    } else if (kind === '*') {
      const [whole, count, inner] = /^(\d+)\(([^)]*)\)/.exec(text.slice(at));
      const once = bytes(inner);
      const times = Math.min(Number(count), Math.floor(bytesMax / once.length));
      parts.push(Buffer.concat(Array(times).fill(once)));
      at += whole.length;
    } else if (kind === '{') {
      const [whole, byte, count] = /^(\w\w)\*(\d+)\}/.exec(text.slice(at));
      parts.push(Buffer.alloc(Math.min(Number(count), bytesMax), byte, 'hex'));
      at += whole.length;
    } else {
      parts.push(Buffer.from({ r: '\r', n: '\n', t: '\t', 0: '\0', '\\': '\\' }[kind]));
    }
  }
  return Buffer.concat(parts);
}

// The facts and the first section's bytes of a case.
export function parse(text, bytesMax) {
  const [facts, section = ''] = text.split(/^---.*\n/m);
  const pairs = facts.split('\n').map((line) => line.split(/: (.*)/s));
  return { facts: Object.fromEntries(pairs), bytes: bytes(section.replaceAll('\n', ''), bytesMax) };
}
