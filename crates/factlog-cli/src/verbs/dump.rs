//! `dump`: one file of a store or all of them, piece by piece, whole or damaged.
//!
//! Knows: how a piece looks, and which file was meant. Does not know: what stands where.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;
use factlog::{Dump, Piece, PieceValue, Uuid};
use serde_json::{Map, Value, json};

use crate::args::Global;
use crate::exit::Failure;
use crate::output::Out;
use crate::select::no_store;
use crate::view::plain;

const EXAMPLES: &str = "\
It shows and does not judge: what does not check may be damaged, torn, or dead, which `factlog
verify` tells apart. FILE is a segment's number, the name of a file of the store, or the path of a
file that lies alone; without it every file that has a format is shown. Writes nothing.

With --json every piece is one line: {file, offset, bytes, depth, kind, problem, fields: {..}};
depth 1 is within the piece of depth 0 before it, problem is null where it checks, and checksums
are text in hexadecimal.

Examples:
  factlog dump 3 --dir shop
  factlog dump 3 --offset 81920 --hex --dir shop
  factlog dump head-0 --dir shop
  factlog dump /tmp/00000000000000000003.seg --headers";

/// Options of `dump`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DumpArgs {
    /// A segment's number, a file's name, or a path
    #[arg(value_name = "FILE")]
    pub file: Option<String>,
    /// Begin with the frame that holds this offset
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub offset: u64,
    /// The bytes as well
    #[arg(long)]
    pub hex: bool,
    /// Only frames, without the records in them
    #[arg(long)]
    pub headers: bool,
    /// The store it is of, where nothing else says so any more
    #[arg(long, value_name = "UUID")]
    pub store: Option<Uuid>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
///
/// # Errors
/// Not found, when the file is not there.
pub fn run(global: &Global, args: &DumpArgs) -> Result<(), Failure> {
    let (dir, names) = match &args.file {
        Some(name) => {
            let (dir, name) = place_of(global, name)?;
            (dir, vec![name])
        }
        None => {
            let dir = global.dir()?;
            let missing = |error| no_store(&dir, error);
            let names = Dump::of(&dir).files().map_err(missing)?;
            if names.is_empty() {
                return Err(Failure::NotFound(format!("there is no store in {}", dir.display())));
            }
            (dir, names)
        }
    };
    let mut dump = Dump::of(&dir).from(args.offset).headers_only(args.headers);
    if let Some(store) = args.store {
        dump = dump.store(store);
    }
    let mut out = Out::new(global);
    for name in names {
        if args.file.is_none() && !args.json {
            let heading = out.bold(&name);
            out.line(heading)?;
        }
        one(&mut out, &dump, (&dir, &name), args)?;
    }
    out.done()
}

fn one(
    out: &mut Out,
    dump: &Dump,
    (dir, name): (&Path, &str),
    args: &DumpArgs,
) -> Result<(), Failure> {
    let mut bytes = match args.hex {
        true => {
            Some(File::open(dir.join(name)).map_err(Failure::io(format!("cannot open {name}")))?)
        }
        false => None,
    };
    let mut failed = None;
    dump.file(name, |piece| {
        let shown = match args.json {
            true => out.json(&as_json(name, &piece)),
            false => out.line(as_line(out, &piece)),
        };
        let shown = shown.and_then(|()| match &mut bytes {
            Some(file) => hex(out, file, &piece),
            None => Ok(()),
        });
        match shown {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                failed = Some(failure);
                ControlFlow::Break(())
            }
        }
    })?;
    failed.map_or(Ok(()), Err)
}

/// The directory and the name of the file that was meant.
fn place_of(global: &Global, file: &str) -> Result<(PathBuf, String), Failure> {
    if let Ok(number) = file.parse::<u64>() {
        return Ok((global.dir()?, format!("{number:020}.seg")));
    }
    let path = Path::new(file);
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Failure::Usage(format!("{file:?} is not a file's name")))?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => Ok((parent.to_path_buf(), name.to_owned())),
        None => Ok((global.dir()?, name.to_owned())),
    }
}

fn value(value: &PieceValue) -> Value {
    match value {
        PieceValue::Number(number) => (*number).into(),
        PieceValue::Checksum(sum) => format!("{sum:08x}").into(),
        PieceValue::Text(text) => text.as_str().into(),
        _ => Value::Null,
    }
}

fn as_json(file: &str, piece: &Piece) -> Value {
    let fields = piece.fields.iter().map(|(name, of)| ((*name).to_owned(), value(of)));
    json!({
        "file": file,
        "offset": piece.offset,
        "bytes": piece.bytes,
        "depth": piece.depth,
        "kind": piece.kind,
        "problem": piece.problem,
        "fields": fields.collect::<Map<_, _>>(),
    })
}

fn as_line(out: &Out, piece: &Piece) -> String {
    let indent = "  ".repeat(piece.depth.into());
    let mut line =
        format!("{:010x}  {indent}{} {} B", piece.offset, out.bold(piece.kind), piece.bytes);
    for (name, of) in &piece.fields {
        let of = match of {
            PieceValue::Text(text) => plain(text),
            other => value(other).to_string().trim_matches('"').to_owned(),
        };
        line.push_str(&format!(" {}{of}", out.dim(&format!("{name}="))));
    }
    if let Some(problem) = &piece.problem {
        line.push_str(&format!("  !! {problem}"));
    }
    line
}

/// The bytes of a piece, 16 to a line, repeated lines once; of a frame its header alone.
fn hex(out: &mut Out, file: &mut File, piece: &Piece) -> Result<(), Failure> {
    const FRAME_HEADER: u64 = 64;
    let length = match piece.kind {
        "zeros" => return Ok(()),
        kind if kind.ends_with("frame") => piece.bytes.min(FRAME_HEADER),
        _ => piece.bytes,
    };
    let unread = || Failure::io("cannot read the file");
    file.seek(SeekFrom::Start(piece.offset)).map_err(unread())?;
    let mut rest = Read::take(file, length);
    let (mut at, mut before, mut starred) = (piece.offset, Vec::new(), false);
    loop {
        let mut row = Vec::with_capacity(16);
        Read::take(&mut rest, 16).read_to_end(&mut row).map_err(unread())?;
        if row.is_empty() {
            return Ok(());
        }
        if row == before {
            if !starred {
                out.line("            *")?;
            }
            starred = true;
        } else {
            let digits: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
            let shown = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' };
            let text: String = row.iter().map(shown).collect();
            out.line(format!("    {at:010x}  {:<47}  {text}", digits.join(" ")))?;
            starred = false;
        }
        at += row.len() as u64;
        before = row;
    }
}
