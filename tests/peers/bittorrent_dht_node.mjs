// bittorrent-dht, driven line by line: one JSON request on standard input, one JSON answer on standard output.
//
// The first argument is the folder whose node_modules hold it. Every request has "op", and "node" where there are
// several; every answer has "ok", and "error" where it is false. One process may hold many nodes, each on an address
// of its own: a small DHT.

import crypto from 'node:crypto'
import path from 'node:path'
import readline from 'node:readline'
import { pathToFileURL } from 'node:url'

const entry = path.join(path.resolve(process.argv[2]), 'node_modules', 'bittorrent-dht', 'index.js')
const { default: DHT } = await import(pathToFileURL(entry).href)

// What DER puts before the 32 bytes of an ed25519 key (RFC 8410).
const PRIVATE_HEAD = Buffer.from('302e020100300506032b657004220420', 'hex')
const PUBLIC_HEAD = Buffer.from('302a300506032b6570032100', 'hex')

function sign (message, secret) {
  const key = crypto.createPrivateKey({ key: Buffer.concat([PRIVATE_HEAD, secret]), format: 'der', type: 'pkcs8' })
  return crypto.sign(null, message, key)
}

function verify (signature, message, publicKey) {
  if (signature.length !== 64 || publicKey.length !== 32) return false
  const key = crypto.createPublicKey({ key: Buffer.concat([PUBLIC_HEAD, publicKey]), format: 'der', type: 'spki' })
  return crypto.verify(null, message, key, signature)
}

// A call that ends with (error, ...results), as a promise of the results.
function called (start) {
  return new Promise((resolve, reject) => {
    start((error, ...results) => error ? reject(error) : resolve(results))
  })
}

function targetOf (key, salt) {
  return crypto.createHash('sha1').update(key).update(salt).digest()
}

function textOf (item) {
  return item && Buffer.isBuffer(item.v) ? item.v.toString() : null
}

const nodes = []

const operations = {
  // Opens one node for each address of `listen`; each enters by those of `known`.
  async start ({ listen, known }) {
    for (const address of listen) {
      const [host, port] = address.split(':')
      const bootstrap = known.filter(other => other !== address)
      const node = new DHT({ bootstrap: bootstrap.length > 0 && bootstrap, verify })
      // What it thinks of strangers' datagrams is for people to read.
      node.on('warning', warning => console.error(address, warning.message))
      node.listen(Number(port), host)
      await new Promise((resolve, reject) => { node.once('listening', resolve); node.once('error', reject) })
      nodes.push(node)
    }
  },

  // How many nodes each routing table holds.
  async sizes () {
    return { sizes: nodes.map(node => node.nodes.toArray().length) }
  },

  // Announces a port; tells how many nodes took it.
  async announce ({ node, info_hash: infoHash, port }) {
    const [count] = await called(done => nodes[node].announce(infoHash, port, done))
    return { nodes: count }
  },

  // All peers that one lookup finds.
  async get_peers ({ node, info_hash: infoHash }) {
    const peers = new Set()
    const found = (peer, hash) => { if (hash.toString('hex') === infoHash) peers.add(`${peer.host}:${peer.port}`) }
    nodes[node].on('peer', found)
    await called(done => nodes[node].lookup(infoHash, done))
    nodes[node].off('peer', found)
    return { peers: [...peers].sort() }
  },

  // Stores a text that nobody can change; tells its hash, and how many nodes took it.
  async put_item ({ node, text }) {
    const [target, count] = await called(done => nodes[node].put({ v: Buffer.from(text) }, done))
    return { target: target.toString('hex'), nodes: count }
  },

  // Gets such a text from others.
  async get_item ({ node, target }) {
    const [item] = await called(done => nodes[node].get(target, { cache: false }, done))
    return { text: textOf(item) }
  },

  // Stores a text under a key, as the version after the one that is found.
  async put_signed ({ node, secret, public: publicKey, salt, text }) {
    const key = Buffer.from(publicKey, 'hex')
    const found = await signed(node, key, salt)
    const item = { k: key, v: Buffer.from(text), seq: found ? found.seq + 1 : 0 }
    item.sign = message => sign(message, Buffer.from(secret, 'hex'))
    if (salt) item.salt = Buffer.from(salt)
    if (found) item.cas = found.seq
    const [, count] = await called(done => nodes[node].put(item, done))
    return { seq: item.seq, nodes: count }
  },

  // Gets the newest text under a key.
  async get_signed ({ node, public: publicKey, salt }) {
    const found = await signed(node, Buffer.from(publicKey, 'hex'), salt)
    return { text: textOf(found), seq: found ? found.seq ?? null : null }
  }
}

async function signed (node, key, salt) {
  const options = salt ? { cache: false, salt } : { cache: false }
  const [item] = await called(done => nodes[node].get(targetOf(key, salt), options, done))
  return item
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  let answer
  try {
    const { op, ...request } = JSON.parse(line)
    answer = { ok: true, ...await operations[op](request) }
  } catch (error) { // The other side decides what a failure means.
    answer = { ok: false, error: String(error) }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
process.exit()
