// Calls to the API through the gateway, and what can go wrong with them, in words for people.
//
// A browser tells a script nothing about a fetch that failed: a strange certificate, a refused origin and a gateway
// that is not there look alike. `explain` asks two more questions and so finds out which it was.

/** An answer that is not 2xx, or none at all. `title` and `text` are for the customer, `steps` for the developer. */
export class Problem extends Error {
  constructor({ status = 0, code = '', title, text, steps = [] }) {
    super(title);
    Object.assign(this, { status, code, title, text, steps });
  }
}

export class Api {
  constructor(config, scheme, onCall) {
    Object.assign(this, { config, base: config.api[scheme], scheme, onCall });
  }

  async call(path, body) {
    const method = body ? 'POST' : 'GET';
    const options = { method, signal: AbortSignal.timeout(15_000) };
    if (body) Object.assign(options, { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } });
    const started = performance.now();
    let response;
    try {
      response = await fetch(this.base + path, options);
    } catch (error) {
      this.onCall({ method, path, status: 0, ms: performance.now() - started });
      throw await this.explain(error);
    }
    const id = response.headers.get('x-request-id');
    this.onCall({ method, path, status: response.status, ms: performance.now() - started, id });
    if (response.ok) return response.json();
    throw refused(response.status, await response.json().catch(() => ({})), id);
  }

  /** Why did the browser not let us see an answer? */
  async explain(error) {
    if (error.name === 'TimeoutError') {
      return new Problem({ title: 'The shop takes too long', text: 'There was no answer within 15 seconds.' });
    }
    const { api, gateway } = this.config;
    if (await reachable(this.base)) return this.unlisted();
    if (this.scheme === 'https' && (await reachable(api.http))) {
      return new Problem({
        code: 'certificate',
        title: 'Your browser does not know this certificate',
        text: `${api.https} uses a certificate from a CA made on this machine. Browsers refuse such a fetch without asking.`,
        steps: [
          ['This says how to trust the local CA. Then start the browser anew.', `${gateway} cert trust`],
          ['Or go back to HTTP with the switch at the end of this page.'],
        ],
      });
    }
    return new Problem({
      code: 'unreachable',
      title: 'Nobody answers',
      text: `There is nothing at ${this.base}. The gateway may not be running.`,
      steps: [['Start it, with the demo:', 'examples/barbershop/run']],
    });
  }

  unlisted() {
    const { shop, gateway } = this.config;
    return new Problem({
      code: 'origin-not-listed',
      title: 'The gateway refuses this page',
      text: `${location.origin} is in no tenant’s whitelist, so no answer reaches this page.`,
      steps: [
        ['See what was refused:', `${gateway} tenant refused`],
        ['Let this page in:', `${gateway} tenant set ${shop} --add-origin ${location.origin}`],
      ],
    });
  }
}

/** Does anything answer there? Without CORS a script may not read what, but it learns that. */
async function reachable(base) {
  const options = { mode: 'no-cors', cache: 'no-store', signal: AbortSignal.timeout(4_000) };
  return fetch(`${base}/healthz`, options).then(() => true, () => false);
}

/** A problem+json answer, from the gateway or from the application behind it. */
function refused(status, { code = '', detail, title }, id) {
  const trace = id ? [[`Request id, for the log: ${id}`]] : [];
  const say = (heading, text) => new Problem({ status, code, title: heading, text, steps: trace });
  if (code.includes('suspended')) {
    return say('This shop is suspended', 'It takes no bookings at present. Please ask the shop.');
  }
  if (code.includes('paused')) {
    return say('Back in a moment', 'The shop’s calendar is paused for maintenance. Nothing is lost; try again shortly.');
  }
  if (status === 429) return say('That was a little fast', 'Too many requests came at once. Wait a few seconds and try again.');
  if (status === 503) return say('The shop is busy', 'No worker could take the request in time. Try again in a moment.');
  if (status === 502 || status === 504) return say('The shop does not answer', detail ?? 'Try again in a moment.');
  return say(title ?? 'That did not work', detail ?? `The API answered ${status}.`);
}
