//! What is moved: torrents of every shape that has been somebody's bug.

use std::path::{Path, PathBuf};

use crate::content::{folder, single_file, write_file};

/// The shape of a torrent's content, in pieces of any length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// One file that ends inside a piece.
    File,
    /// One file of whole pieces.
    WholePieces,
    /// One file smaller than a piece.
    Small,
    /// Several files that begin and end inside of pieces, one of them in a piece with two others.
    Borders,
    /// The same with files without a byte among them: at the start, between and at the end.
    Empty,
    /// Names with spaces and letters of four alphabets, of the folder and of files.
    Names,
    /// A file twelve folders down.
    Deep,
    /// Fifty files in folders, 5 MB: all of the above.
    Tree,
    /// One file of a hundred pieces or so, to be stopped in the middle.
    Long,
}

impl Shape {
    /// All that a case moves from start to end.
    pub const ALL: [Self; 8] = [
        Self::File,
        Self::WholePieces,
        Self::Small,
        Self::Borders,
        Self::Empty,
        Self::Names,
        Self::Deep,
        Self::Tree,
    ];

    /// In the words of the report.
    pub fn text(self) -> &'static str {
        match self {
            Self::File => "one file, the last piece short",
            Self::WholePieces => "one file of whole pieces",
            Self::Small => "one file smaller than a piece",
            Self::Borders => "files with borders inside pieces",
            Self::Empty => "empty files among them",
            Self::Names => "names beyond ASCII",
            Self::Deep => "deep folders",
            Self::Tree => "tree of 50 files",
            Self::Long => "one file of 100 pieces",
        }
    }

    /// Whether files without a byte belong to it.
    pub fn has_empty_files(self) -> bool {
        matches!(self, Self::Empty | Self::Tree)
    }

    /// Writes it into `parent`, for pieces of `piece_len` bytes; gives the file or folder.
    pub fn write(self, parent: &Path, piece_len: u32, seed: u64) -> PathBuf {
        let piece = u64::from(piece_len);
        let tree = |name: &str, files: &[(&str, u64)]| {
            let root = parent.join(name);
            for (i, (path, len)) in files.iter().enumerate() {
                write_file(&root.join(path), *len, seed.wrapping_add(i as u64));
            }
            root
        };
        let borders = [
            ("a", piece + piece / 2 + 1),
            ("b", 7),
            ("c.bin", 2 * piece - 3),
            ("d/e", piece / 3),
            ("d/f", 1),
        ];
        match self {
            Self::File => single_file(parent, "file.bin", 5 * piece / 2 + 13, seed),
            Self::WholePieces => single_file(parent, "whole.bin", 3 * piece, seed),
            Self::Small => single_file(parent, "small.bin", 7_777, seed),
            Self::Borders => tree("borders", &borders),
            Self::Empty => {
                let empty = [("A first", 0), ("c/between", 0), ("d/zero", 0), ("z last", 0)];
                let mut files = [&borders[..], &empty].concat();
                files.sort_unstable();
                tree("empty", &files)
            }
            Self::Names => tree(
                "naïve ключ 文件 🙂",
                &[("ä b.txt", piece + 5), ("δέλτα/ключ", piece / 2), ("文件 (1)/🙂.bin", 99)],
            ),
            Self::Deep => {
                tree("deep", &[("1/2/3/4/5/6/7/8/9/10/11/12/far.bin", 2 * piece + 9), ("near", 3)])
            }
            Self::Tree => folder(parent, "tree", seed),
            Self::Long => single_file(parent, "long.bin", 100 * piece + 5, seed),
        }
    }
}
