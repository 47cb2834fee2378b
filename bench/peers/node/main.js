// One copy of the server for each worker, behind one port: Node's own way to use more than one core.
import cluster from 'node:cluster'

const workers = Number(process.env.WEB_CONCURRENCY ?? 1)

if (cluster.isPrimary && workers > 1) {
  for (let worker = 0; worker < workers; worker++) cluster.fork()
} else {
  await import('./server.js')
}
