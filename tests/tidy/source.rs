//! Rust source, taken apart just enough to ask where a word stands, and in what.
//!
//! Knows: comments, literals, brackets, `use` trees, test items. Does not know: any rule.

/// One path of a `use` tree or of an expression: `crate::types::Error`, at a byte of the file.
pub struct Import {
    pub at: usize,
    pub parts: Vec<String>,
    pub name: String,
}

/// A source file, taken apart just enough: every text has the length of the file.
pub struct Source {
    pub path: String,
    pub text: String,
    /// Comments and the insides of literals are blank.
    pub code: String,
    /// The same, with `#[cfg(test)]` items blank too.
    pub shipped: String,
    /// Only the insides of literals are blank.
    pub unquoted: String,
    /// What ships of them, each with its place.
    pub literals: Vec<(usize, String)>,
    /// Lines, without those of `#[cfg(test)]` items.
    pub shipped_lines: usize,
}

pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn blank(bytes: &mut [u8], from: usize, to: usize) {
    let end = to.min(bytes.len());
    bytes[from.min(end)..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
}

pub fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

/// Where the word stands as a whole word (a needle may end in a bracket or a mark).
pub fn words(text: &str, needle: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let edge = |at: usize, end: usize| {
        let open = at == 0 || !is_word(needle.as_bytes()[0]) || !is_word(bytes[at - 1]);
        open && (!is_word(bytes[end - 1]) || bytes.get(end).is_none_or(|b| !is_word(*b)))
    };
    let found = text.match_indices(needle).map(|(at, _)| at);
    found.filter(|at| edge(*at, at + needle.len())).collect()
}

/// The byte after the bracket that closes the one at `open`.
pub fn after_closing(code: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// The end of the item that begins at `from`: its closing brace or its semicolon.
pub fn item_end(code: &str, from: usize) -> usize {
    let mut at = from;
    while let Some(byte) = code.as_bytes().get(at) {
        match byte {
            b'(' | b'[' => at = after_closing(code, at),
            b'{' => return after_closing(code, at),
            b';' => return at + 1,
            _ => at += 1,
        }
    }
    code.len()
}

/// The end of the comment or literal that begins at `at`, and whether it is a literal.
fn opaque(text: &str, at: usize) -> Option<(usize, bool)> {
    let (bytes, rest) = (text.as_bytes(), &text[at..]);
    let until = |needle: &str, skip: usize| {
        rest[skip..].find(needle).map_or(text.len(), |i| at + skip + i + needle.len())
    };
    if rest.starts_with("//") {
        return Some((rest.find('\n').map_or(text.len(), |i| at + i), false));
    } else if rest.starts_with("/*") {
        return Some((until("*/", 2), false));
    } else if rest.starts_with('r') && (at == 0 || !is_word(bytes[at - 1]) || bytes[at - 1] == b'b')
    {
        let hashes = rest[1..].bytes().take_while(|b| *b == b'#').count();
        let quoted = rest[1 + hashes..].starts_with('"');
        return quoted.then(|| (until(&format!("\"{}", "#".repeat(hashes)), hashes + 2), true));
    } else if let Some(inside) = rest.strip_prefix('\'') {
        let escaped = rest.starts_with("'\\");
        let width = 1 + inside.chars().next().map_or(0, char::len_utf8);
        let is_char = escaped || rest[width..].starts_with('\'');
        return is_char.then(|| (until("'", if escaped { 3 } else { width }), true));
    } else if !rest.starts_with('"') {
        return None;
    }
    let mut end = at + 1;
    while end < text.len() && bytes[end] != b'"' {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    Some((end + 1, true))
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let (mut code, mut unquoted) = (text.as_bytes().to_vec(), text.as_bytes().to_vec());
        let (mut literals, mut at) = (Vec::new(), 0);
        while at < text.len() {
            let Some((end, literal)) =
                text.is_char_boundary(at).then(|| opaque(text, at)).flatten()
            else {
                at += 1;
                continue;
            };
            if literal {
                let inside = text.get(at + 1..end.saturating_sub(1)).unwrap_or_default();
                literals.push((at, inside.trim_matches(['"', '#']).to_owned()));
                blank(&mut code, at + 1, end.saturating_sub(1));
                blank(&mut unquoted, at + 1, end.saturating_sub(1));
            } else {
                blank(&mut code, at, end);
            }
            at = end;
        }
        let code = String::from_utf8_lossy(&code).into_owned();
        let mut shipped = code.clone().into_bytes();
        let whole_file = !path.starts_with("src/") && !path.contains("/src/");
        if whole_file || path.ends_with("/tests.rs") {
            blank(&mut shipped, 0, code.len());
        }
        let mut shipped_lines = text.lines().count();
        for attribute in ["#[cfg(test)]", "#[cfg(all(test"] {
            for (from, _) in code.match_indices(attribute) {
                let to = item_end(&code, after_closing(&code, from + 1));
                let lines = line_of(&code, to) - line_of(&code, from) + 1;
                shipped_lines = shipped_lines.saturating_sub(lines);
                blank(&mut shipped, from, to);
            }
        }
        literals.retain(|(at, _)| shipped[*at] != b' ');
        let shipped = String::from_utf8_lossy(&shipped).into_owned();
        let unquoted = String::from_utf8_lossy(&unquoted).into_owned();
        let (path, text) = (path.to_owned(), text.to_owned());
        Self { path, text, code, shipped, unquoted, literals, shipped_lines }
    }

    pub fn at(&self, at: usize, text: impl std::fmt::Display) -> String {
        format!("{}:{}: {text}", self.path, line_of(&self.code, at))
    }

    /// Every path with `::` in what is shipped; braces are opened.
    pub fn imports(&self) -> Vec<Import> {
        let (bytes, mut found, mut at) = (self.shipped.as_bytes(), Vec::new(), 0);
        while at < bytes.len() {
            let begins = is_word(bytes[at]) && (at == 0 || !is_word(bytes[at - 1]));
            at = if begins { path_tree(bytes, at, &[], &mut found) } else { at + 1 };
        }
        found.retain(|import| import.parts.len() > 1);
        found
    }
}

fn skip_blank(bytes: &[u8], at: usize) -> usize {
    at + bytes[at.min(bytes.len())..].iter().take_while(|b| b.is_ascii_whitespace()).count()
}

fn path_tree(bytes: &[u8], from: usize, before: &[String], found: &mut Vec<Import>) -> usize {
    let begin = skip_blank(bytes, from);
    let (mut parts, mut at, mut name) = (before.to_vec(), begin, String::new());
    let word = |at: usize| {
        let end = at + bytes[at..].iter().take_while(|b| is_word(**b)).count();
        (end, String::from_utf8_lossy(&bytes[at..end]).into_owned())
    };
    loop {
        at = skip_blank(bytes, at);
        match bytes.get(at) {
            Some(b'{') => {
                let text = String::from_utf8_lossy(bytes);
                let close = after_closing(&text, at);
                while at + 1 < close {
                    at = path_tree(bytes, at + 1, &parts, found).max(at + 1);
                }
                return close;
            }
            Some(b'*') => {
                (at, name) = (at + 1, "*".into());
                parts.push("*".into());
                break;
            }
            Some(byte) if is_word(*byte) => {
                let (end, part) = word(at);
                (at, name) = (end, part.clone());
                if part != "self" || parts.is_empty() {
                    parts.push(part);
                }
            }
            _ => break,
        }
        let next = skip_blank(bytes, at);
        if !bytes[next..].starts_with(b"::") {
            let renamed = skip_blank(bytes, next + 2);
            if bytes[next..].starts_with(b"as ") {
                (at, name) = word(renamed);
            }
            break;
        }
        at = next + 2;
    }
    if !name.is_empty() {
        found.push(Import { at: begin, parts, name });
    }
    at
}
