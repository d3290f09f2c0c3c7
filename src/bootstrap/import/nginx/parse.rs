//! The text of nginx's configuration as directives: words, quotes, comments, blocks, and the files that `nginx -T` prints
//! one after the other, put where they are included. Hostile text costs bounded memory and time.

use std::{iter::Peekable, vec::IntoIter};

/// One directive: its name, its words, and what stands in its braces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) words: Vec<String>,
    pub(super) inside: Vec<Directive>,
}

/// Deepest nesting of blocks, and of files in files, that is followed; real ones have five.
const DEPTH_MAX: usize = 16;

/// Files put in the place of an `include`; more is a loop.
const INCLUDES_MAX: usize = 1000;

/// What stands before each file in what `nginx -T` prints.
const FILE_MARK: &str = "# configuration file ";

impl Directive {
    pub(super) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    pub(super) fn word(&self, at: usize) -> Option<&str> {
        self.words.get(at).map(String::as_str)
    }

    /// All directives of that name in its block.
    pub(super) fn each<'d>(&'d self, name: &'d str) -> impl Iterator<Item = &'d Directive> {
        self.inside.iter().filter(move |inside| inside.is(name))
    }

    /// The first word of the first directive of that name in its block.
    pub(super) fn of(&self, name: &str) -> Option<&str> {
        self.inside.iter().find(|inside| inside.is(name))?.word(0)
    }
}

/// All of it, as one block without a name. Includes of what is not in the text stay.
pub(super) fn parse(text: &str) -> Directive {
    let files: Vec<File> = files(text);
    let Some(main) = files.first() else { return Directive::default() };
    let directory = main.path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let mut includes = Includes { files: &files, directory, left: INCLUDES_MAX };
    let inside = includes.resolved(block(&mut words(main.text).into_iter().peekable(), 0), 0);
    Directive { name: String::new(), words: Vec::new(), inside }
}

/// A file in what `nginx -T` prints.
struct File<'t> {
    path: &'t str,
    text: &'t str,
}

fn files(text: &str) -> Vec<File<'_>> {
    let mut files = Vec::new();
    let mut begun = (0, "");
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let path = line.trim_end().strip_prefix(FILE_MARK).and_then(|rest| rest.strip_suffix(':'));
        if let Some(path) = path {
            files.push(File { path: begun.1, text: text.get(begun.0..at).unwrap_or_default() });
            begun = (at, path);
        }
        at += line.len();
    }
    files.push(File { path: begun.1, text: text.get(begun.0..).unwrap_or_default() });
    // What stands before the first mark is what nginx says about its test.
    if files.len() > 1 {
        files.remove(0);
    }
    files
}

struct Includes<'t> {
    files: &'t [File<'t>],
    directory: &'t str,
    left: usize,
}

impl Includes<'_> {
    fn resolved(&mut self, directives: Vec<Directive>, depth: usize) -> Vec<Directive> {
        let mut found = Vec::new();
        for mut directive in directives {
            directive.inside = self.resolved(directive.inside, depth);
            let pattern = directive.word(0).filter(|_| directive.is("include") && depth < DEPTH_MAX);
            let Some(pattern) = pattern else {
                found.push(directive);
                continue;
            };
            let pattern = if pattern.starts_with('/') {
                pattern.to_owned()
            } else {
                format!("{}/{pattern}", self.directory)
            };
            let all = self.files;
            let mut known = false;
            for file in all.iter().filter(|file| matches(&pattern, file.path)) {
                known = true;
                if let Some(left) = self.left.checked_sub(1) {
                    self.left = left;
                    let inside = block(&mut words(file.text).into_iter().peekable(), 0);
                    found.extend(self.resolved(inside, depth + 1));
                }
            }
            // A pattern with a `*` that fits nothing is no mistake.
            if !known && !pattern.contains('*') {
                found.push(directive);
            }
        }
        found
    }
}

/// Does the path fit the pattern, in which `*` is anything but a slash?
fn matches(pattern: &str, path: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = path.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        let at = if parts.peek().is_none() { rest.len().checked_sub(part.len()) } else { rest.find(part) };
        let Some(skipped) = at.and_then(|at| rest.get(..at)) else { return false };
        let Some(after) = rest.get(skipped.len()..).and_then(|after| after.strip_prefix(part)) else {
            return false;
        };
        if skipped.contains('/') {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

/// Words, `;`, `{` and `}`; comments are dropped, quotes taken away.
fn words(text: &str) -> Vec<Word> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(end), _) if character == end => quote = None,
            (_, '\\') => {
                let grown = word.get_or_insert_default();
                grown.push('\\');
                grown.extend(characters.next());
            }
            (Some(_), _) => word.get_or_insert_default().push(character),
            (None, '"' | '\'') if word.is_none() => {
                quote = Some(character);
                word = Some(String::new());
            }
            (None, '#') if word.is_none() => while characters.next_if(|next| *next != '\n').is_some() {},
            // `${name}` is a variable, no block.
            (None, '{') if word.as_ref().is_some_and(|word| word.ends_with('$')) => {
                let grown = word.get_or_insert_default();
                grown.push('{');
                while let Some(next) = characters.next_if(|next| *next != '}') {
                    grown.push(next);
                }
                grown.extend(characters.next());
            }
            (None, ';' | '{' | '}') => {
                words.extend(word.take().map(Word::Text));
                words.push(Word::Mark(character));
            }
            (None, _) if character.is_whitespace() => words.extend(word.take().map(Word::Text)),
            (None, _) => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word.map(Word::Text));
    words
}

enum Word {
    Text(String),
    Mark(char),
}

fn block(words: &mut Peekable<IntoIter<Word>>, depth: usize) -> Vec<Directive> {
    let (mut found, mut own) = (Vec::new(), Vec::new());
    while let Some(word) = words.next() {
        let inside = match word {
            Word::Text(text) => {
                own.push(text);
                continue;
            }
            Word::Mark('}') => break,
            Word::Mark('{') if depth < DEPTH_MAX => block(words, depth + 1),
            Word::Mark(_) => Vec::new(),
        };
        let mut all = std::mem::take(&mut own).into_iter();
        if let Some(name) = all.next() {
            found.push(Directive { name, words: all.collect(), inside });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block as text: `name word {inside}`.
    fn shown(block: &Directive) -> String {
        let of = |one: &Directive| {
            let words: String = one.words.iter().map(|word| format!(" <{word}>")).collect();
            let inside = if one.inside.is_empty() { String::new() } else { format!(" {{{}}}", shown(one)) };
            format!("{}{words}{inside}", one.name)
        };
        block.inside.iter().map(of).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn quotes_comments_variables_and_blocks_are_told_apart() {
        for (text, want) in [
            ("a b; # c;\nd 'e f' \"g;{\" ;", "a <b>; d <e f> <g;{>"),
            ("x { y ${z}q; } w '';", "x {y <${z}q>}; w <>"),
            (r"location ~ \.php$ { deny all; }", r"location <~> <\.php$> {deny <all>}"),
            (r#"log '{"a":"\'"}';"#, r#"log <{"a":"\'"}>"#),
            ("}}}; ; {", ""),
            ("unfinished", ""),
            ("a { b c", "a"),
        ] {
            assert_eq!(shown(&parse(text)), want, "{text}");
        }
        assert!(shown(&parse(&"a{".repeat(10_000))).matches('{').count() <= DEPTH_MAX);
    }

    #[test]
    fn included_files_stand_where_they_are_included() {
        let text = "nginx: the configuration file is ok\n\
            # configuration file /etc/nginx/nginx.conf:\nhttp { include mime.types; include sites/*; include gone.conf; }\n\
            # configuration file /etc/nginx/mime.types:\ntypes { a b; }\n\
            # configuration file /etc/nginx/sites/one:\nserver { include snippets/tls.conf; }\n\
            # configuration file /etc/nginx/snippets/tls.conf:\nssl_certificate x;\n\
            # configuration file /etc/nginx/sites/deep/two:\nserver { listen 1; }\n";
        let want = "http {types {a <b>}; server {ssl_certificate <x>}; include <gone.conf>}";
        assert_eq!(shown(&parse(text)), want);
        let endless = "# configuration file /a:\nx 1; include /a; include /a;\n";
        assert!(parse(endless).inside.len() <= 2 * INCLUDES_MAX + 2);
    }

    #[test]
    fn a_star_fits_all_but_a_slash() {
        for (pattern, path, fits) in [
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/b/c", false),
            ("/a/*.conf", "/a/b.conf", true),
            ("/a/*.conf", "/a/b", false),
            ("/a/b", "/a/b", true),
            ("/a/b", "/a/bc", false),
            ("/*/b*", "/a/bc", true),
        ] {
            assert_eq!(matches(pattern, path), fits, "{pattern} {path}");
        }
    }
}
