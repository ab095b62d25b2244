//! The threads against real files.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use sha1::{Digest, Sha1};
use tempfile::TempDir;
use wire::metainfo::{Info, build_info};
use wire::time::Time;

use super::*;
use crate::disk::{DiskErrorKind, HashState, OpenMode, PathExtent, RelPath, Ticket};
use crate::storage::{Config, Storage, StorageEvent, journal_path};

const TORRENT: TorrentKey = TorrentKey(3);

/// A pool of threads whose results are waited for one by one.
struct Pool {
    pool: DiskPool,
    woken: mpsc::Receiver<()>,
    done: VecDeque<Completion>,
}

impl Pool {
    fn new(root: &Path) -> Pool {
        let (wake, woken) = mpsc::channel();
        let config = DiskConfig { disk_threads: 2, ..DiskConfig::default() };
        let wake = Box::new(move || wake.send(()).unwrap_or_default());
        let mut pool = DiskPool::start_with(&config, wake);
        pool.set_root(TORRENT, root.to_owned()).unwrap();
        Pool { pool, woken, done: VecDeque::new() }
    }

    fn next(&mut self) -> Completion {
        loop {
            if let Some(done) = self.done.pop_front() {
                return done;
            }
            self.woken.recv_timeout(Duration::from_secs(30)).expect("a result");
            self.done.extend(self.pool.take_completions());
        }
    }

    fn run(&mut self, op: DiskOp<Slot>) -> DiskResult<Slot> {
        self.pool.submit_op(job(9), op);
        self.pool.kick();
        match self.next() {
            Completion::Op { job: done, result } if done == job(9) => result,
            _ => panic!("another job's result"),
        }
    }

    fn open(&mut self, file: u64, names: &[&str], mode: OpenMode) -> DiskResult<Slot> {
        self.run(DiskOp::Open { file: FileId(file), path: path(names), mode })
    }

    fn error(&mut self, op: DiskOp<Slot>) -> DiskErrorKind {
        match self.run(op) {
            DiskResult::Failed { error, .. } => error.kind,
            result => panic!("{result:?}"),
        }
    }
}

fn job(ticket: u64) -> JobId {
    JobId { torrent: TORRENT, ticket: Ticket(ticket) }
}

fn path(names: &[&str]) -> RelPath {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn extent(file: FileId, offset: u64, len: u64) -> Extent {
    Extent { file, offset, len }
}

fn hash(extents: Vec<Extent>, after: Option<HashState<Slot>>, finish: bool) -> DiskOp<Slot> {
    DiskOp::HashExtents { extents, after, finish, rewrite: false }
}

fn is_done(result: &DiskResult<Slot>) -> bool {
    matches!(result, DiskResult::Done | DiskResult::Stat(Some(_)))
}

#[test]
fn what_is_hashed_can_be_written_again_as_it_is() {
    let folder = TempDir::new().unwrap();
    let content: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    fs::write(folder.path().join("a"), &content).unwrap();
    let mut pool = Pool::new(folder.path());
    assert!(is_done(&pool.open(1, &["a"], OpenMode::Write)));
    let extents = vec![extent(FileId(1), 7, 200_000), extent(FileId::ZEROS, 0, 100)];
    let mut padded = content[7..200_007].to_vec();
    padded.extend([0; 100]);
    let mtime = || fs::metadata(folder.path().join("a")).unwrap().modified().unwrap();
    for rewrite in [false, true] {
        let (before, extents, after) = (mtime(), extents.clone(), None);
        std::thread::sleep(Duration::from_millis(20));
        match pool.run(DiskOp::HashExtents { extents, after, finish: true, rewrite }) {
            DiskResult::Digest(digest) => assert_eq!(digest[..], sha1::Sha1::digest(&padded)[..]),
            result => panic!("{result:?}"),
        }
        // Its times alone change.
        assert_eq!(mtime() > before, rewrite);
        assert_eq!(fs::read(folder.path().join("a")).unwrap(), content);
    }
}

#[test]
fn blocks_go_to_their_files_and_come_back() {
    let folder = TempDir::new().unwrap();
    let mut pool = Pool::new(folder.path());
    assert!(is_done(&pool.run(DiskOp::MakeFolder { path: path(&["d", "e"]) })));
    assert!(is_done(&pool.run(DiskOp::MakeFolder { path: path(&["d", "e"]) })));
    assert!(is_done(&pool.open(1, &["d", "e", "a"], OpenMode::Write)));
    assert!(is_done(&pool.open(2, &["b"], OpenMode::Write)));
    assert!(is_done(&pool.run(DiskOp::SetLen { file: FileId(2), len: 100_000 })));
    let content: Vec<u8> = (0..40_000u32).map(|i| (i % 251) as u8).collect();
    let blocks: Vec<Slot> = content.chunks(16 << 10).map(Slot::from).collect();
    // The last 10 bytes of the first file, padding, and the rest from byte 7 of the second on.
    let extents = vec![
        extent(FileId(1), 5, 10),
        extent(FileId::ZEROS, 0, 20_000),
        extent(FileId(2), 7, 19_990),
    ];
    match pool.run(DiskOp::WriteBlocks { extents: extents.clone(), blocks, skip: 0 }) {
        DiskResult::Blocks(blocks) => assert_eq!(blocks.len(), 3),
        result => panic!("{result:?}"),
    }
    assert_eq!(fs::read(folder.path().join("d/e/a")).unwrap()[5..], content[..10]);
    let second = fs::read(folder.path().join("b")).unwrap();
    assert_eq!((second.len(), &second[7..19_997]), (100_000, &content[20_010..]));

    let mut padded = content;
    padded[10..20_010].fill(0);
    match pool.run(hash(extents.clone(), None, true)) {
        DiskResult::Digest(digest) => assert_eq!(digest[..], sha1::Sha1::digest(&padded)[..]),
        result => panic!("{result:?}"),
    }
    match pool.run(DiskOp::ReadBlock { extents: extents.clone() }) {
        DiskResult::Blocks(blocks) => assert_eq!(blocks[0].bytes(), padded),
        result => panic!("{result:?}"),
    }
    // The same file by file: hashed on, written from amid the second block on, and read by name.
    let first = hash(extents[..2].to_vec(), None, false);
    let DiskResult::Hashed(state) = pool.run(first) else { panic!() };
    let (rest, after) = (extents[2..].to_vec(), Some(state));
    match pool.run(hash(rest.clone(), after, true)) {
        DiskResult::Digest(digest) => assert_eq!(digest[..], sha1::Sha1::digest(&padded)[..]),
        result => panic!("{result:?}"),
    }
    padded[20_010..].reverse();
    let blocks = padded.chunks(16 << 10).map(Slot::from).collect();
    pool.run(DiskOp::WriteBlocks { extents: rest, blocks, skip: 20_010 });
    let named = |names: Option<&[&str]>, offset, len| {
        let path = names.map(path);
        PathExtent { path, offset, len }
    };
    let extents = vec![
        named(Some(&["d", "e", "a"]), 5, 10),
        named(None, 0, 20_000),
        named(Some(&["b"]), 7, 19_990),
    ];
    match pool.run(DiskOp::ReadPaths { extents }) {
        DiskResult::Blocks(blocks) => assert_eq!(blocks[0].bytes(), padded),
        result => panic!("{result:?}"),
    }
    let past_the_end = vec![named(Some(&["b"]), 99_999, 2)];
    assert_eq!(pool.error(DiskOp::ReadPaths { extents: past_the_end }), DiskErrorKind::NotFound);
}

#[test]
fn files_and_folders_are_synced_and_a_file_is_told_of() {
    let folder = TempDir::new().unwrap();
    let mut pool = Pool::new(folder.path());
    assert!(is_done(&pool.run(DiskOp::MakeFolder { path: path(&["d", "e"]) })));
    pool.open(2, &["b"], OpenMode::Write);
    assert!(is_done(&pool.run(DiskOp::SetLen { file: FileId(2), len: 100_000 })));
    let DiskResult::Stat(Some(stat)) = pool.run(DiskOp::Stat { path: path(&["b"]) }) else {
        panic!("it is there");
    };
    let real = fs::metadata(folder.path().join("b")).unwrap().modified().unwrap();
    let since = real.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!((stat.len, i128::from(stat.mtime_ns)), (100_000, since.as_nanos() as i128));
    assert!(is_done(&pool.run(DiskOp::SyncData { file: FileId(2) })));
    let mut sync = || pool.run(DiskOp::SyncAll { file: FileId(2), path: path(&["b"]) });
    let synced = sync();
    assert!(matches!(synced, DiskResult::Stat(Some(synced)) if synced == stat), "{synced:?}");
    fs::rename(folder.path().join("b"), folder.path().join("c")).unwrap();
    assert!(matches!(sync(), DiskResult::Stat(None)), "it is elsewhere");
    fs::write(folder.path().join("b"), vec![0; 100_000]).unwrap();
    assert!(matches!(sync(), DiskResult::Stat(None)), "another is there");
    assert!(is_done(&pool.run(DiskOp::SyncFolder { path: path(&["d", "e"]) })));
    assert!(is_done(&pool.run(DiskOp::SyncFolder { path: Vec::new() })));
    assert!(matches!(pool.run(DiskOp::FreeSpace), DiskResult::FreeSpace(1..)));
}

#[test]
fn all_who_want_a_folder_synced_are_answered() {
    let folder = TempDir::new().unwrap();
    let mut pool = Pool::new(folder.path());
    assert!(is_done(&pool.run(DiskOp::MakeFolder { path: path(&["d"]) })));
    let folders = [&["d"][..], &[], &["gone"], &["d"], &["gone"], &[]];
    for (ticket, folder) in (100..).zip(folders.iter().cycle().take(60)) {
        pool.pool.submit_op(job(ticket), DiskOp::SyncFolder { path: path(folder) });
    }
    pool.pool.kick();
    let mut told = BTreeMap::new();
    while told.len() < 60 {
        let Completion::Op { job, result } = pool.next() else { panic!("of another kind") };
        assert!(told.insert(job.ticket.0, is_done(&result)).is_none(), "told twice: {job:?}");
    }
    for (ticket, folder) in (100..).zip(folders.iter().cycle().take(60)) {
        assert_eq!(told[&ticket], folder[..] != ["gone"], "{folder:?}");
    }
}

#[test]
fn small_things_are_written_read_renamed_and_removed() {
    let folder = TempDir::new().unwrap();
    let mut pool = Pool::new(folder.path());
    pool.open(1, &["a"], OpenMode::Write);
    let bytes = b"hello".to_vec();
    assert!(is_done(&pool.run(DiskOp::Write { file: FileId(1), offset: 2, bytes })));
    match pool.run(DiskOp::Read { extent: extent(FileId(1), 1, 100) }) {
        DiskResult::Bytes(bytes) => assert_eq!(bytes, b"\0hello"),
        result => panic!("{result:?}"),
    }
    assert!(is_done(&pool.run(DiskOp::Rename { from: path(&["a"]), to: path(&["b"]) })));
    assert!(matches!(pool.run(DiskOp::Stat { path: path(&["a"]) }), DiskResult::Stat(None)));
    for _ in 0..2 {
        assert!(is_done(&pool.run(DiskOp::Unlink { path: path(&["b"]) })));
    }
    assert!(matches!(pool.run(DiskOp::Stat { path: path(&["b"]) }), DiskResult::Stat(None)));
    assert!(pool.pool.file(FileId(1)).is_some());
    assert!(is_done(&pool.run(DiskOp::Close { file: FileId(1) })));
    assert!(pool.pool.file(FileId(1)).is_none());
    assert_eq!(pool.error(DiskOp::SyncData { file: FileId(1) }), DiskErrorKind::Other);
}

#[test]
fn no_path_leads_out_of_the_folder() {
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("secret"), "s").unwrap();
    for old_kernel in [false, true] {
        let folder = TempDir::new().unwrap();
        let beneath = folder.path().join("root");
        fs::create_dir(&beneath).unwrap();
        fs::write(folder.path().join("secret"), "s").unwrap();
        symlink(outside.path(), beneath.join("absolute")).unwrap();
        symlink("..", beneath.join("relative")).unwrap();
        symlink(outside.path().join("secret"), beneath.join("file")).unwrap();
        symlink(outside.path().join("new"), beneath.join("dangling")).unwrap();
        let mut pool = Pool::new(&beneath);
        if old_kernel {
            let root = Root::open(beneath.clone()).unwrap().without_openat2();
            pool.pool.roots.insert(TORRENT, Arc::new(root));
        }
        for names in [
            &["absolute", "secret"][..],
            &["relative", "secret"],
            &["file"],
            &["dangling"],
            &["..", "secret"],
            &["../secret"],
            &["/etc/passwd"],
            &[""],
        ] {
            for mode in [OpenMode::Read, OpenMode::Write, OpenMode::WriteLocked] {
                let result = pool.open(1, names, mode);
                assert!(matches!(result, DiskResult::Failed { .. }), "{names:?}");
            }
            pool.error(DiskOp::Stat { path: path(names) });
            pool.error(DiskOp::Rename { from: path(names), to: path(&["absolute", "x"]) });
        }
        let kind = pool.error(DiskOp::MakeFolder { path: path(&["absolute", "d"]) });
        assert!(matches!(kind, DiskErrorKind::Denied | DiskErrorKind::Conflict), "{kind:?}");
        pool.error(DiskOp::MakeFolder { path: path(&["absolute"]) });
        pool.error(DiskOp::Unlink { path: path(&["absolute", "secret"]) });
        pool.error(DiskOp::SyncFolder { path: path(&["relative"]) });
        assert!(fs::exists(outside.path().join("secret")).unwrap());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_link_that_stays_in_the_folder_is_followed_where_the_kernel_can_tell() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("real")).unwrap();
    symlink("real", folder.path().join("link")).unwrap();
    let mut pool = Pool::new(folder.path());
    assert!(is_done(&pool.open(1, &["link", "a"], OpenMode::Write)));
    assert!(fs::exists(folder.path().join("real/a")).unwrap());
}

#[test]
fn a_second_lock_is_refused_until_the_first_is_gone() {
    let folder = TempDir::new().unwrap();
    let (mut first, mut second) = (Pool::new(folder.path()), Pool::new(folder.path()));
    assert!(is_done(&first.open(1, &["j"], OpenMode::WriteLocked)));
    let op = || DiskOp::Open { file: FileId(1), path: path(&["j"]), mode: OpenMode::WriteLocked };
    assert_eq!(second.error(op()), DiskErrorKind::Locked);
    assert!(is_done(&first.run(DiskOp::Close { file: FileId(1) })));
    assert!(is_done(&second.run(op())));
}

#[test]
fn a_file_that_another_writes_to_is_refused_until_that_closes_it() {
    let folder = TempDir::new().unwrap();
    let mut pool = Pool::new(folder.path());
    assert!(is_done(&pool.open(1, &["x"], OpenMode::Write)));
    assert!(is_done(&pool.open(2, &["x"], OpenMode::Read)));
    let error = match pool.open(3, &["x"], OpenMode::Write) {
        DiskResult::Failed { error, .. } => error,
        result => panic!("{result:?}"),
    };
    assert_eq!(error.kind, DiskErrorKind::Conflict);
    for words in ["/x: another torrent writes to it", "choose another folder"] {
        assert!(error.message.contains(words), "{error}");
    }
    // Somebody may still send from it; that does not hold the next one up.
    let sending = pool.pool.file(FileId(1)).unwrap();
    assert!(is_done(&pool.run(DiskOp::Close { file: FileId(1) })));
    assert!(is_done(&pool.open(3, &["x"], OpenMode::Write)));
    drop(sending);
}

#[test]
fn what_is_no_file_is_told_and_stops_no_thread() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("d")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.path().join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    fs::write(folder.path().join("short"), "12345").unwrap();
    let mut pool = Pool::new(folder.path());
    for name in ["d", "pipe"] {
        for mode in [OpenMode::Read, OpenMode::Write] {
            let op = DiskOp::Open { file: FileId(1), path: path(&[name]), mode };
            assert_eq!(pool.error(op), DiskErrorKind::Conflict, "{name}");
        }
        assert_eq!(pool.error(DiskOp::Stat { path: path(&[name]) }), DiskErrorKind::Conflict);
    }
    let folder_of_a_file = DiskOp::MakeFolder { path: path(&["short", "x"]) };
    assert_eq!(pool.error(folder_of_a_file), DiskErrorKind::Conflict);
    let missing = DiskOp::Open { file: FileId(1), path: path(&["no"]), mode: OpenMode::Read };
    assert_eq!(pool.error(missing), DiskErrorKind::NotFound);
    pool.open(1, &["short"], OpenMode::Read);
    let extents = vec![extent(FileId(1), 0, 6)];
    assert_eq!(
        pool.error(DiskOp::HashExtents { extents, after: None, finish: true, rewrite: false }),
        DiskErrorKind::NotFound
    );
    // Blocks come back from a write that fails.
    let (extents, blocks) = (vec![extent(FileId(1), 0, 3)], vec![Slot::new(3)]);
    match pool.run(DiskOp::WriteBlocks { extents, blocks, skip: 0 }) {
        DiskResult::Failed { blocks, .. } => assert_eq!(blocks.len(), 1),
        result => panic!("{result:?}"),
    }
}

#[test]
fn the_systems_errors_are_sorted() {
    let kind = |errno: rustix::io::Errno| error_at(Path::new("x"), &errno.into()).kind;
    use rustix::io::Errno;
    assert_eq!(kind(Errno::NOSPC), DiskErrorKind::Full);
    assert_eq!(kind(Errno::DQUOT), DiskErrorKind::Full);
    assert_eq!(kind(Errno::ROFS), DiskErrorKind::Denied);
    assert_eq!(kind(Errno::IO), DiskErrorKind::Other);
    let error = error_at(Path::new("/d/x"), &Errno::NOSPC.into());
    assert!(error.message.starts_with("/d/x: No space left"), "{error}");
}

#[test]
fn files_are_sparse_unless_their_room_is_to_be_taken_at_once() {
    use std::os::unix::fs::MetadataExt;
    for preallocate in [false, true] {
        let folder = TempDir::new().unwrap();
        let (info, content) = torrent();
        let mut pool = Pool::new(folder.path());
        let mut storage = Storage::new(&info, Config { preallocate, ..Config::default() }, 1);
        assert_eq!(start(&mut storage, &mut pool), 0);
        let blocks = content[..32 << 10].chunks(16 << 10).map(Slot::from).collect();
        storage.write_piece(Time::from_secs(1), 0, vec![(0, blocks)]);
        storage.flush(Time::from_secs(1));
        drive(&mut storage, &mut pool, |event| matches!(event, StorageEvent::Flushed));
        let file = fs::metadata(folder.path().join("top/c")).unwrap();
        assert_eq!(file.len(), 199_999);
        assert_eq!(file.blocks() * 512 >= 199_999, preallocate, "{} blocks", file.blocks());
        let root = Root::open(folder.path().to_owned()).unwrap();
        let told = stat(&root, &["top", "c"].map(String::from).to_vec()).unwrap().unwrap();
        assert_eq!((told.len, told.allocated), (file.len(), file.blocks() * 512));
    }
}

#[test]
fn a_piece_is_hashed_in_parts() {
    let folder = TempDir::new().unwrap();
    let mut pool = Pool::new(folder.path());
    let content: Vec<u8> = (0..100_000u32).map(|i| (i % 249) as u8).collect();
    let mut hasher = Hasher::default();
    for (part, finish) in [(&content[..60_000], false), (&content[60_000..], true)] {
        let blocks = part.chunks(16 << 10).map(Slot::from).collect();
        pool.pool.submit_hash(job(4), HashWork { hasher, blocks, finish });
        pool.pool.kick();
        let Completion::Hash { hasher: after, digest, .. } = pool.next() else { panic!() };
        hasher = after;
        let whole: [u8; 20] = Sha1::digest(&content).into();
        assert_eq!(digest, finish.then_some(whole));
    }
}

#[test]
fn what_was_handed_over_is_finished_before_the_threads_end() {
    let folder = TempDir::new().unwrap();
    let mut pool = Pool::new(folder.path());
    pool.open(1, &["a"], OpenMode::Write);
    for block in 0..500u64 {
        let extents = vec![extent(FileId(1), block * 100, 100)];
        let blocks = vec![Slot::from(&[1; 100][..])];
        pool.pool.submit_op(job(block), DiskOp::WriteBlocks { extents, blocks, skip: 0 });
    }
    pool.pool.kick();
    drop(pool);
    assert_eq!(fs::read(folder.path().join("a")).unwrap(), [1; 50_000]);
}

#[test]
fn pieces_that_are_hashed_two_by_two_have_their_own_hashes() {
    let folder = TempDir::new().unwrap();
    let content: Vec<u8> = (0..900_000u32).map(|i| (i * 11 % 251) as u8).collect();
    fs::write(folder.path().join("a"), &content[..500_000]).unwrap();
    fs::write(folder.path().join("b"), &content[500_000..]).unwrap();
    let mut pool = Pool::new(folder.path());
    assert!(is_done(&pool.open(1, &["a"], OpenMode::Read)));
    assert!(is_done(&pool.open(2, &["b"], OpenMode::Read)));
    // Pieces of 32 KiB, one of them in both files, with a hole here and there; the last has less, and
    // one more is beyond the end.
    let mut expected = Vec::new();
    for n in 0..29u64 {
        let (start, end) = (n << 15, ((n + 1) << 15).min(900_000).max((n << 15) + 100));
        let mut extents = match start {
            _ if end <= 500_000 => vec![extent(FileId(1), start, end - start)],
            _ if start >= 500_000 => vec![extent(FileId(2), start - 500_000, end - start)],
            _ => {
                vec![extent(FileId(1), start, 500_000 - start), extent(FileId(2), 0, end - 500_000)]
            }
        };
        let mut bytes = content.get(start as usize..end as usize).map(<[u8]>::to_vec);
        if n % 5 == 0 {
            extents[0].len -= 100;
            extents.insert(1, extent(FileId::ZEROS, 0, 100));
            if let Some(bytes) = &mut bytes {
                let hole = extents[0].len as usize;
                bytes[hole..hole + 100].fill(0);
            }
        }
        expected.push(bytes.map(|bytes| <[u8; 20]>::from(Sha1::digest(bytes))));
        pool.pool.submit_op(
            job(n),
            DiskOp::HashExtents { extents, after: None, finish: true, rewrite: false },
        );
    }
    assert_eq!(expected.iter().filter(|hash| hash.is_none()).count(), 1);
    pool.pool.kick();
    let mut found = vec![None; 29];
    for _ in 0..29 {
        match pool.next() {
            Completion::Op { job, result: DiskResult::Digest(digest) } => {
                found[job.ticket.0 as usize] = Some(digest);
            }
            Completion::Op { job, result: DiskResult::Failed { .. } } => {
                assert_eq!(job.ticket.0, 28)
            }
            _ => panic!("another result"),
        }
    }
    assert_eq!(found, expected);
}

/// A torrent of three files, and the bytes of all of them.
fn torrent() -> (Info, Vec<u8>) {
    let content: Vec<u8> = (0..300_000u32).map(|i| (i * 7 % 253) as u8).collect();
    let hashes: Vec<[u8; 20]> =
        content.chunks(32 << 10).map(|piece| Sha1::digest(piece).into()).collect();
    let file = |name: &str, len| (path(&[name]), len);
    let files = [file("a", 100_000), file("b", 1), file("empty", 0), file("c", 199_999)];
    (Info::parse(&build_info("top", &files, 32 << 10, &hashes)).unwrap(), content)
}

/// Runs a storage on real files until it tells what is waited for.
fn drive(
    storage: &mut Storage<Slot>,
    pool: &mut Pool,
    is_end: impl Fn(&StorageEvent<Slot>) -> bool,
) -> StorageEvent<Slot> {
    loop {
        while let Some(event) = storage.poll_event() {
            if is_end(&event) {
                return event;
            }
            assert!(!matches!(event, StorageEvent::Failed { .. }), "{event:?}");
        }
        while let Some((ticket, op)) = storage.poll_op() {
            pool.pool.submit_op(job(ticket.0), op);
        }
        pool.pool.kick();
        if let Completion::Op { job, result } = pool.next() {
            storage.handle_disk(Time::from_secs(1), job.ticket, result);
        }
    }
}

fn start(storage: &mut Storage<Slot>, pool: &mut Pool) -> u32 {
    storage.start(Time::from_secs(1));
    match drive(storage, pool, |event| matches!(event, StorageEvent::Started { .. })) {
        StorageEvent::Started { have, .. } => have.count(),
        event => panic!("{event:?}"),
    }
}

#[test]
fn a_torrent_is_downloaded_to_real_files_and_known_again() {
    let folder = TempDir::new().unwrap();
    let (info, content) = torrent();
    let mut pool = Pool::new(folder.path());
    let mut storage = Storage::new(&info, Config::default(), 1);
    assert_eq!(start(&mut storage, &mut pool), 0);
    for (piece, bytes) in (0..).zip(content.chunks(32 << 10)) {
        let blocks = bytes.chunks(16 << 10).map(Slot::from).collect();
        storage.write_piece(Time::from_secs(1), piece, vec![(0, blocks)]);
    }
    storage.flush(Time::from_secs(1));
    drive(&mut storage, &mut pool, |event| matches!(event, StorageEvent::Flushed));
    let read = |name: &str| fs::read(folder.path().join("top").join(name)).unwrap();
    let whole = [read("a"), read("b"), read("empty"), read("c")].concat();
    assert!(whole == content);

    // Another one finds it locked, until its threads are gone.
    let mut other = Pool::new(folder.path());
    let mut second = Storage::new(&info, Config::default(), 2);
    second.start(Time::from_secs(1));
    let failed =
        drive(&mut second, &mut other, |event| matches!(event, StorageEvent::Failed { .. }));
    let StorageEvent::Failed { error } = failed else { panic!() };
    assert_eq!(error.kind, DiskErrorKind::Locked);
    drop(pool);

    let journal =
        journal_path(&info.info_hash).iter().fold(folder.path().to_owned(), |p, e| p.join(e));
    let before = fs::read(&journal).unwrap();
    let mut storage = Storage::new(&info, Config::default(), 1);
    assert_eq!(start(&mut storage, &mut other), 10);
    assert_eq!(storage.check_progress(), (0, 0), "nothing was read");
    storage.flush(Time::from_secs(1));
    drive(&mut storage, &mut other, |event| matches!(event, StorageEvent::Flushed));
    assert!(fs::read(&journal).unwrap() == before);

    // A changed file is noticed: the first one lies in 4 pieces.
    fs::write(folder.path().join("top/a"), &content[..100_000]).unwrap();
    storage.close();
    while let Some((ticket, op)) = storage.poll_op() {
        other.pool.submit_op(job(ticket.0), op);
        other.pool.kick();
        other.next();
    }
    let mut storage = Storage::new(&info, Config::default(), 1);
    assert_eq!(start(&mut storage, &mut other), 10);
    assert_eq!(storage.check_progress(), (4, 4));
}
