// Uses `cluster` itself: two processes of its own behind one socket, which end with their parent.
import cluster from 'node:cluster';
import http from 'node:http';

if (cluster.isPrimary) {
  cluster.fork();
  cluster.fork();
  process.on('SIGTERM', () => cluster.disconnect(() => process.exit(0)));
} else {
  http
    .createServer((request, response) =>
      response.end(JSON.stringify({ pid: process.pid, parent: process.ppid, url: request.url })),
    )
    .listen(process.env.PORT);
}
