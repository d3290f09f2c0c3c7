// Real socket.io clients over the gateway: node socketio.mjs TRANSPORTS. Each asks again and again, and must be answered by
// the session that it began. Prints how many workers have answered, and every failure.
import { io } from 'socket.io-client';

const CLIENTS = 12;
const QUESTIONS = 15;
const transports = process.argv[2].split(',');
const { API, ORIGIN } = process.env;

async function client() {
  const failures = [];
  const socket = io(API, {
    transports,
    withCredentials: true,
    reconnection: false,
    forceNew: true,
    extraHeaders: { origin: ORIGIN },
  });
  const ended = new Promise((resolve) => {
    socket.on('connect_error', (error) => resolve(failures.push(`connect: ${error.message}`)));
    socket.on('disconnect', (reason) => resolve(failures.push(`disconnect: ${reason}`)));
  });
  const pids = new Set();
  const asking = async () => {
    for (let number = 1; number <= QUESTIONS; number += 1) {
      const answer = await socket.timeout(20_000).emitWithAck('ask');
      if (answer.asked !== number) failures.push(`another session: ${answer.asked} for ${number}`);
      pids.add(answer.pid);
    }
  };
  await Promise.race([asking().catch((error) => failures.push(`ask: ${error.message}`)), ended]);
  socket.removeAllListeners('disconnect');
  socket.disconnect();
  return { pids, failures };
}

const done = await Promise.all(Array.from({ length: CLIENTS }, client));
const failures = done.flatMap((one) => one.failures);
const workers = new Set(done.flatMap((one) => [...one.pids])).size;
const strayed = done.filter((one) => one.pids.size > 1).length;
console.log(JSON.stringify({ workers, strayed, failures }));
process.exit(0);
