//! Values that follow a word after a blank, without any separator: options of commands, lines of configurations and of
//! protocols, and sentences.
//!
//! `--password x` · `mysql -px` · `curl -u user:x` · `machine h login u password x` · `username u password 7 x` ·
//! `snmp-server community x` · `requirepass x` · `AUTH PLAIN x` · `Bearer x` · `Basic dTp4` · `password is x1!` · `密码：x` ·
//! `&lt;password&gt;x&lt;/password&gt;`.
//!
//! A sentence is no configuration: there a word counts where it looks like a secret, with letters and digits or signs.

use super::value::{self, Context};
use super::{Key, Quote, Word, key, key_start};
use super::{ends, none, programs};
use crate::transforms::redact::ascii::{ALNUM, DIGIT, LOWER, UPPER, is, is_at, is_before, run_back};
use crate::transforms::redact::find::Found;
use crate::transforms::redact::marks::Marks;
use memchr::memmem;
use regex_automata::Span;

/// Ends of words behind which a value may follow after a blank or tab, which is their last byte.
const ENDINGS: [&str; 75] = [
    "word ",
    "WORD ",
    "asswd ",
    "ASSWD ",
    "hrase ",
    "ecret ",
    "ECRET ",
    "oken ",
    "OKEN ",
    "_KEY ",
    " key ",
    "earer ",
    "EARER ",
    "asic ",
    "IED BY ",
    "ied by ",
    "unity ",
    "epass ",
    "erauth ",
    "AUTH ",
    "PASS ",
    "h pass ",
    " psk ",
    "LOGIN ",
    "auth sha ",
    "auth md5 ",
    "priv aes ",
    "priv des ",
    "com2sec ",
    "code is ",
    "OTP ",
    "word\t",
    "oken\t",
    "ecret\t",
    // Lists without quotes.
    "word, ",
    "oken, ",
    "ecret, ",
    // Commands and protocols.
    "lplus ",
    "expdp ",
    "impdp ",
    "sqlldr ",
    "add_user ",
    "net user ",
    "SETUSER ",
    "addauth digest ",
    "AUTHENTICATE PLAIN ",
    "IDENTIFY ",
    " USING ",
    "VALUES ",
    "values ",
    "334 ",
    " md5 ",
    "-key ",
    "-psk ",
    "tring ",
    "phash ",
    " pw ",
    "_key ",
    "passe ",
    "s your ",
    "auth-pass ",
    "version 2c ",
    "unseal ",
    "echo ",
    "printf ",
    "rootpw ",
    "bindpw ",
    "CLIENT_RANDOM ",
    "FOUND! [ ",
    "ssKey ",
    // Sentences.
    "asswort ",
    "contraseña ",
    "ароль ",
    "ción es ",
    " pass ",
];

/// Words that are not ASCII.
const WIDE: [&str; 13] = [
    "密码",
    "口令",
    "密钥",
    "令牌",
    "パスワード",
    "验证码",
    "校验码",
    "驗證碼",
    "認証コード",
    "確認コード",
    "暗証番号",
    "인증번호",
    "비밀번호",
];

/// How far a value is looked at first.
const NEAR: usize = 512;
/// How far back the command of an option is looked for.
const MAX_COMMAND: usize = 160;

/// What stands where a value may be near.
#[derive(Clone, Copy)]
enum Anchor {
    /// The end of a word, which begins here; its blank is at the place that was looked at.
    Ending(usize),
    /// Dashes of an option stand behind the place.
    Option,
    /// The word of a Windows command stands there.
    User,
    /// A switch of a Windows command, whose value begins here, stands there.
    Switch(usize),
    /// `&gt;` stands there.
    Element,
    /// A word that is not ASCII ends here.
    Wide(usize),
}

/// Finds the places where a word ends that a value may follow, then looks at each.
///
/// Those of ASCII are told by their last four bytes, blank included, with one look into a table: most blanks are done with
/// that.
pub(in crate::transforms::redact) struct Words {
    /// By [`slot`]: the last four bytes, and where their endings begin in `endings`.
    slots: Box<[(u32, u8); SLOTS]>,
    /// By their last four bytes.
    endings: Vec<&'static [u8]>,
    factor: u32,
}

const SLOTS: usize = 1024;

/// The place of four bytes in a table of [`SLOTS`].
#[inline(always)]
fn slot(last: u32, factor: u32) -> usize {
    (last.wrapping_mul(factor) >> 22) as usize
}

/// The last four bytes of a text.
#[inline(always)]
fn last_four(text: &[u8]) -> Option<u32> {
    text.last_chunk().map(|last| u32::from_le_bytes(*last))
}

impl Words {
    /// `None` where the endings cannot be told apart with one look, which does not happen with ours.
    pub(in crate::transforms::redact::find) fn new() -> Option<Self> {
        let mut endings: Vec<&[u8]> = ENDINGS.iter().chain(&programs::ENDINGS).map(|e| e.as_bytes()).collect();
        endings.sort_by_key(|e| last_four(e));
        let firsts = || (0..endings.len()).filter(|&i| i == 0 || last_four(endings[i - 1]) != last_four(endings[i]));
        // The first odd factor with which no two share a slot.
        let factor = (0..1 << 16).map(|n: u32| n.wrapping_mul(0x9e37_79b1) | 1).find(|&factor| {
            let mut taken = [false; SLOTS];
            firsts().all(|i| {
                last_four(endings[i]).is_some_and(|last| !std::mem::replace(&mut taken[slot(last, factor)], true))
            })
        })?;
        let mut slots = Box::new([(0, 0); SLOTS]);
        for i in firsts() {
            let last = last_four(endings[i])?;
            slots[slot(last, factor)] = (last, i as u8);
        }
        Some(Self { slots, endings, factor })
    }

    /// The leftmost value at or after `from`, of a word at or after `from`.
    #[inline(never)]
    pub(in crate::transforms::redact::find) fn find(&self, text: &[u8], from: usize, marks: &Marks) -> Option<Found> {
        for (block, mut bits) in marks.places(from, |p| p.words) {
            while bits != 0 {
                let at = block + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if self.may_be(text, at)
                    && let Some(hit) = self.at(text, from, at)
                {
                    return Some(hit);
                }
            }
        }
        None
    }

    /// Whether the place is more than a blank between ordinary words.
    #[inline(always)]
    fn may_be(&self, text: &[u8], at: usize) -> bool {
        // The end of the word, its blank, and what follows.
        let Some(near) = text.get(at.wrapping_sub(3)..).and_then(|near| near.first_chunk::<8>()) else { return true };
        let near = u64::from_le_bytes(*near);
        let (last, next) = (near as u32, (near >> 32) as u8);
        // A blank or tab; and behind it neither `-`, `.` nor `/`.
        let ordinary = last >> 24 <= u32::from(b' ') && next.wrapping_sub(b'-') > 2;
        !ordinary || self.slots[slot(last, self.factor)].0 == last
    }

    /// The value near `at`.
    #[inline(never)]
    fn at(&self, text: &[u8], from: usize, at: usize) -> Option<Found> {
        let hit = self.ending(text, at).and_then(|start| self.behind(text, from, start, at));
        hit.or_else(|| check(text, at, sign(text, at)?).filter(|h| h.start >= from))
    }

    fn behind(&self, text: &[u8], from: usize, start: usize, at: usize) -> Option<Found> {
        if start < from {
            return None;
        }
        check(text, at, Anchor::Ending(start)).filter(|h| h.start >= from)
    }

    /// Where the ending begins whose last byte stands at `at`.
    #[inline(always)]
    fn ending(&self, text: &[u8], at: usize) -> Option<usize> {
        let last = u32::from_le_bytes(*text.get(at.wrapping_sub(3)..)?.first_chunk()?);
        let (of, first) = self.slots[slot(last, self.factor)];
        if of != last { None } else { self.whole_ending(&text[..=at], last, usize::from(first)) }
    }

    fn whole_ending(&self, text: &[u8], last: u32, first: usize) -> Option<usize> {
        let alike = self.endings[first..].iter().take_while(|e| last_four(e) == Some(last));
        alike.filter(|e| text.ends_with(e)).map(|e| text.len() - e.len()).min()
    }
}

/// The password that stands before the user: `net use Z: \\\\srv\\share x /user:bob`.
fn before_user(text: &[u8], at: usize) -> Option<Found> {
    let least = at.saturating_sub(MAX_COMMAND);
    let start = least + memchr::memrchr(b' ', &text[least..at])? + 1;
    let path = text[start..at].contains(&b'\\') || text[start..at].ends_with(b":") || text[start] == b'/';
    (start < at && !path && has_command(&text[least..start], &[b"net use"])).then(|| Found::plain(start, at))
}

/// What begins with the blank, the quote, the `&` or the character at `at`.
fn sign(text: &[u8], at: usize) -> Option<Anchor> {
    match text[at] {
        b' ' => after_blank(text, at),
        b'"' | b'\'' => (text.get(at + 1) == Some(&b'-') && may_be_option(text, at + 1)).then_some(Anchor::Option),
        b'&' => text[at..].starts_with(b"&gt;").then_some(Anchor::Element),
        _ => {
            let word = WIDE.iter().find(|w| text[at..].starts_with(w.as_bytes()));
            word.map(|w| Anchor::Wide(at + w.len()))
        }
    }
}

fn after_blank(text: &[u8], at: usize) -> Option<Anchor> {
    match text.get(at + 1)? {
        b'-' => may_be_option(text, at + 1).then_some(Anchor::Option),
        b'/' => match text.get(at + 2..at + 5)? {
            b"use" => text[at..].starts_with(b" /user:").then_some(Anchor::User),
            [b'p', b':', _] => Some(Anchor::Switch(at + 4)),
            b"rp " => Some(Anchor::Switch(at + 5)),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the option whose dashes begin at `at` may be one that has a secret.
fn may_be_option(text: &[u8], at: usize) -> bool {
    match text.get(at + 1) {
        Some(b'-' | b'p' | b'P' | b'u' | b'U' | b'a' | b'A' | b'w' | b'c' | b'X' | b'N' | b'K' | b'y' | b'E') => true,
        Some(b's' | b'S' | b'f' | b'k' | b'L' | b'v' | b'i' | b't' | b'b' | b'H') => {
            let end = at + 1 + text[at + 1..].iter().take(8).take_while(|&&b| is(b, UPPER | LOWER)).count();
            // `-u` among other letters.
            (end > at + 2 && text[end - 1] == b'u')
                || matches!(
                    (text[at + 1], text.get(at + 2)),
                    (b's', Some(b't' | b'e' | b' ' | b'"'))
                        | (b'k', Some(b'e' | b' ' | b'"'))
                        | (b't', Some(b'o'))
                        | (b'b', Some(b' ' | b'"'))
                )
        }
        _ => false,
    }
}

/// As [`option`], of a list of arguments.
pub(super) fn option_at(text: &[u8], at: usize) -> Option<Found> {
    check(text, at - 1, Anchor::Option)
}

/// The value near `at`, where `anchor` is.
fn check(text: &[u8], at: usize, anchor: Anchor) -> Option<Found> {
    let hit = match anchor {
        Anchor::Ending(start) => behind_ending(text, Span { start, end: at + 1 }),
        Anchor::Option => option(text, at + 1),
        Anchor::User => {
            let value = ends::token_of(text, at + " /user:".len());
            if matches!(text.get(value), Some(b'/') | None) { before_user(text, at) } else { plain(text, value) }
        }
        Anchor::Switch(start) => plain(text, start).filter(|f| none::looks_secret(&text[f.start..f.end])),
        Anchor::Element => element(text, at),
        Anchor::Wide(end) => wide(text, end),
    }?;
    let value = &text[hit.start..hit.end];
    (!value.is_empty() && !none::is_placeholder(value) && !none::no_secret(Word::Plain, value)).then_some(hit)
}

fn behind_ending(text: &[u8], span: Span) -> Option<Found> {
    match &text[span.start..span.end] {
        b"earer " | b"EARER " => bearer(text, span.end),
        b"asic " => basic(text, span.end),
        b"AUTH " | b"PASS " => command(text, span.end),
        b"IED BY " | b"ied by " => {
            plain(text, span.end).filter(|f| !text[f.start..f.end].eq_ignore_ascii_case(b"password"))
        }
        b"LOGIN " => login(text, span.start, span.end),
        b"auth sha " | b"auth md5 " | b"priv aes " | b"priv des " => snmp_v3(text, span.end),
        b"com2sec " => third(text, span.end),
        b"code is " | b"OTP " | b"ci\xc3\xb3n es " => code(text, span),
        b"word, " | b"oken, " | b"ecret, " => pair(text, span.end),
        b"lplus " | b"expdp " | b"impdp " | b"sqlldr " => oracle(text, span.end),
        b"VALUES " | b"values " => inserted(text, span),
        b"334 " => answer(text, span.end),
        b"s your " => code_before(text, span),
        b"echo " | b"printf " => piped(text, span.end),
        b"CLIENT_RANDOM " => plain(text, ends::token_of(text, span.end)).filter(|f| f.end - f.start >= 90),
        b"FOUND! [ " => plain(text, span.end),
        b"bundle config " | b"poetry config " | b"composer config " | b"stats auth " | b"password\nV "
        | b"passphrase\nV " | b"SSWS " | b"pat " | b"connect string " => programs::behind(text, span.start, span.end),
        b"add_user "
        | b"net user "
        | b"SETUSER "
        | b"addauth digest "
        | b"AUTHENTICATE PLAIN "
        | b"IDENTIFY "
        | b" USING "
        | b" md5 "
        | b"auth-pass "
        | b"version 2c "
        | b"unseal " => of_program(text, span),
        _ => word(text, span.end),
    }
}

/// The argument of a command or a message of a protocol that is a secret by its place.
fn of_program(text: &[u8], span: Span) -> Option<Found> {
    let least = span.start.saturating_sub(MAX_COMMAND);
    let line = memchr::memrchr(b'\n', &text[least..span.start]).map_or(least, |p| least + p + 1);
    let before = &text[line..span.start];
    let has = |word: &[u8]| memmem::find(before, word).is_some();
    let second = || plain(text, ends::token_of(text, span.end));
    let secret = |f: &Found| none::looks_secret(&text[f.start..f.end]);
    match &text[span.start..span.end] {
        b"add_user " => {
            if has(b"rabbitmqctl") {
                second()
            } else {
                None
            }
        }
        b"net user " => {
            let command = before.iter().all(|b| !is(*b, ALNUM)) || before.ends_with(b"> ");
            if command { second().filter(|f| text[f.start] != b'/' && secret(f)) } else { None }
        }
        b"SETUSER " => {
            let near = &text[..text.len().min(span.end + NEAR)];
            let sign = span.end + memmem::find(&near[span.end..ends::line_end(near, span.end)], b" >")?;
            plain(text, sign + 2)
        }
        b"addauth digest " => plain(text, span.end).and_then(|f| after_colon(text, f)),
        b"AUTHENTICATE PLAIN " => plain(text, span.end).filter(|f| f.end - f.start >= 8),
        b"IDENTIFY " => {
            if has(b"NickServ") {
                plain(text, span.end)
            } else {
                None
            }
        }
        b" USING " => {
            if has(b"CONNECT TO ") {
                plain(text, span.end)
            } else {
                None
            }
        }
        b" md5 " => {
            if has(b"-key ") {
                plain(text, span.end)
            } else {
                None
            }
        }
        b"auth-pass " => second(),
        b"version 2c " => {
            if has(b"snmp-server host") {
                plain(text, span.end)
            } else {
                None
            }
        }
        b"unseal " => plain(text, span.end).filter(|f| f.end - f.start >= 20 && secret(f)),
        _ => None,
    }
}

/// The second of two words in brackets, of which the first ends before `at`: `(password, x)`, `[token, x]`.
fn pair(text: &[u8], at: usize) -> Option<Found> {
    let end = at - 2;
    let start = key_start(text, end);
    if !matches!(text[..start].last(), Some(b'(' | b'[')) || start == end {
        return None;
    }
    key::word_of(&text[start..end]).filter(|w| matches!(w, Word::Plain | Word::Token))?;
    let found = short_word(text, at)?;
    let over = matches!(text.get(found.end), Some(b')' | b']'));
    (over && none::looks_secret(&text[found.start..found.end])).then_some(found)
}

/// The password of `sqlplus -s scott/x@db`.
pub(super) fn oracle(text: &[u8], at: usize) -> Option<Found> {
    let mut at = ends::skip_blanks(text, at);
    for _ in 0..4 {
        if text.get(at) != Some(&b'-') {
            break;
        }
        at = ends::token_of(text, at);
    }
    let near = &text[at..text.len().min(at + 120)];
    let word = &near[..near.iter().position(|&b| b <= b' ' || b == b'"').unwrap_or(near.len())];
    let slash = memchr::memchr(b'/', word).filter(|&s| s > 0 && !word[..s].contains(&b':'))?;
    let end = memchr::memchr(b'@', word).unwrap_or(word.len());
    (slash + 1 < end).then(|| Found::plain(at + slash + 1, at + end))
}

/// The values in a list of SQL that belong to columns with the name of a secret, from the first to the last of them:
/// `INSERT INTO t (id, password) VALUES (1, 'x')`.
fn inserted(text: &[u8], span: Span) -> Option<Found> {
    const MOST: usize = 32;
    let head = text[..span.start].trim_ascii_end().strip_suffix(b")")?;
    let least = head.len().saturating_sub(2 * NEAR);
    let open = least + memchr::memrchr(b'(', &head[least..])? + 1;
    let mut secret = [false; MOST];
    for (secret, name) in secret.iter_mut().zip(head[open..].split(|&b| b == b',')) {
        let name = name.trim_ascii();
        let name = name.strip_prefix(b"`").or_else(|| name.strip_prefix(b"\"")).unwrap_or(name);
        let name = name.strip_suffix(b"`").or_else(|| name.strip_suffix(b"\"")).unwrap_or(name);
        *secret = key::word_of(name).is_some_and(|w| matches!(w, Word::Plain | Word::Token | Word::Pass));
    }
    if !secret.contains(&true) {
        return None;
    }
    let near = text.len().min(span.end + 4 * NEAR);
    let (mut at, mut place, mut all) = (span.end, MOST, None::<Found>);
    while at < near {
        match text[at] {
            b'(' if place == MOST => place = 0,
            b',' if place < MOST => place += 1,
            b')' => place = MOST,
            b';' | b'\n' => break,
            b'\'' => {
                let (end, close) = ends::quote_end(&text[..near], at + 1, b'\'', 0)?;
                let value = Found::plain(at + 1, end);
                let none = at + 1 >= end || none::is_placeholder(&text[at + 1..end]);
                if secret.get(place) == Some(&true) && !none {
                    all = Some(Found { start: all.map_or(value.start, |a| a.start), ..value });
                }
                at = close;
            }
            b'a'..=b'z' | b'A'..=b'Z' if place == MOST => break,
            _ => {}
        }
        at += 1;
    }
    all
}

/// The code before its word: `739201 is your code`, `Use 739201 as your OTP`.
fn code_before(text: &[u8], span: Span) -> Option<Found> {
    let head = text[..span.start].strip_suffix(b" i").or_else(|| text[..span.start].strip_suffix(b" a"))?;
    let start = run_back(text, 0, head.len(), DIGIT);
    let near = &text[span.end..text.len().min(span.end + 48)];
    let word = |w: &[u8]| matches!(w, b"code" | b"OTP" | b"PIN" | b"passcode" | b"otp");
    let said = near.split(|b| !is(*b, ALNUM)).any(word);
    let number = (4..=8).contains(&(head.len() - start)) && !is_before(text, start, ALNUM);
    (said && number).then(|| Found::plain(start, head.len()))
}

/// What a client answers to `334 UGFzc3dvcmQ6`, in which a server asks for the password.
fn answer(text: &[u8], at: usize) -> Option<Found> {
    let next = text[at..].strip_prefix(b"UGFzc3dvcmQ6").map(|_| at + 12)?;
    let line = ends::skip_space(text, next);
    let line = if text[line..].starts_with(b"C: ") { line + 3 } else { line };
    let alone = |f: &Found| matches!(text.get(f.end), None | Some(b'\r' | b'\n'));
    if line == next { None } else { plain(text, line).filter(alone) }
}

/// What is written to a program that reads a password: `echo x | docker login --password-stdin`, `echo bob:x | chpasswd`.
fn piped(text: &[u8], at: usize) -> Option<Found> {
    const PROGRAMS: [&[u8]; 9] = [
        b"chpasswd",
        b"sudo -S",
        b"--password-stdin",
        b"--with-token",
        b"passwd --stdin",
        b"secret create",
        b"--passphrase-fd",
        b"cryptsetup",
        b"kinit",
    ];
    let mut at = ends::skip_blanks(text, at);
    while text[at..].starts_with(b"-n ") || text[at..].starts_with(b"-e ") {
        at += 3;
    }
    let near = &text[..text.len().min(at + NEAR)];
    let line = ends::line_end(near, at);
    let pipe = at + memmem::find(&near[at..line], b" | ")?;
    let program = PROGRAMS.iter().find(|p| memmem::find(&near[pipe..line], p).is_some())?;
    let found = plain(text, at).filter(|f| f.end <= pipe)?;
    if *program == b"chpasswd" { after_colon(text, found) } else { Some(found) }
}

/// The word or string at `at`, whatever it looks like.
fn plain(text: &[u8], at: usize) -> Option<Found> {
    let near = &text[..text.len().min(at + NEAR)];
    let found = token(near, at)?;
    // It may be longer than what was looked at.
    if found.end + 1 >= near.len() && near.len() < text.len() { token(text, at) } else { Some(found) }
}

/// As [`plain`], of a sentence: nothing that is longer than a word.
fn short_word(text: &[u8], at: usize) -> Option<Found> {
    let near = &text[..text.len().min(at + NEAR)];
    token(near, at).filter(|f| f.end + 1 < near.len() || near.len() == text.len())
}

fn token(text: &[u8], at: usize) -> Option<Found> {
    let at = ends::skip_blanks(text, at);
    let key = Key { quote: Quote::None, start: at.saturating_sub(1), end: at };
    let cx = Context { key: &key, word: Word::Plain, encoded: false, colon: false };
    if let Some((open, level)) = ends::quote_at(text, at) {
        return value::quoted(text, open, level, &cx);
    }
    let end = ends::token_end(text, at, &cx);
    (end > at).then(|| Found::plain(at, end))
}

/// The string of a list that is so many behind the one that the quote at `close` ends.
fn string_behind(text: &[u8], mut close: usize, count: usize) -> Option<Found> {
    let near = &text[..text.len().min(close + NEAR)];
    let mut found = None;
    for _ in 0..count {
        let comma = ends::skip_space(near, close + 1);
        let next = if near.get(comma) == Some(&b',') { ends::skip_space(near, comma + 1) } else { return None };
        let (open, level) = ends::quote_at(near, next)?;
        let (end, quote) = ends::quote_end(near, open + 1, near[open], level)?;
        found = (open + 1 < end).then(|| Found::plain(open + 1, end));
        close = quote;
    }
    found
}

/// The value of an option whose dashes begin at `at`.
fn option(text: &[u8], at: usize) -> Option<Found> {
    let dashes = 1 + usize::from(text.get(at + 1) == Some(&b'-'));
    let start = at + dashes;
    let end = start + text[start..].iter().take(48).take_while(|&&b| is(b, ALNUM) || matches!(b, b'-' | b'_')).count();
    let name = &text[start..end];
    if name.is_empty() {
        return None;
    }
    if (dashes == 2 || name.len() > 3)
        && let Some(word) = key::word_of(name).filter(|w| *w != Word::Pwd)
    {
        // Help texts have the name in capitals.
        let last = name.rsplit(|&b| b == b'-').next().unwrap_or(name);
        let own = |value: &[u8]| value.iter().all(|b| !b.is_ascii_lowercase()) && value.eq_ignore_ascii_case(last);
        if name.ends_with(b"stdin") {
            return None;
        }
        let none = |value: &[u8]| none::no_secret(word, value) || own(value);
        let found = argument(text, end).filter(|f| !none(&text[f.start..f.end]))?;
        // `config set --secret dbPassword x`.
        let value = &text[found.start..found.end];
        let named = name == b"secret" && key::word_of(value).is_some() && !value.iter().any(|&b| is(b, DIGIT));
        if let Some(next) = if named { argument(text, found.end) } else { None } {
            let value = &text[next.start..next.end];
            if none::is_placeholder(value) || none::looks_secret(value) {
                return Some(next);
            }
        }
        return Some(found);
    }
    if name == b"user" || name == b"proxy-user" {
        let value = if text.get(end) == Some(&b'=') { plain(text, end + 1) } else { argument(text, end) };
        return value.and_then(|f| after_colon(text, f));
    }
    let gh = name == b"b" && has_command(&text[at.saturating_sub(MAX_COMMAND)..at], &[b"gh secret", b"secret set"]);
    if gh || matches!(name, b"value" | b"data" | b"body") {
        let value = match text.get(end) {
            Some(b'=') => plain(text, end + 1),
            Some(b'"' | b'\'') if name == b"b" => plain(text, end),
            _ => argument(text, end),
        };
        if let Some(found) = value.filter(|_| named_before(text, at)) {
            return Some(found);
        }
    }
    if dashes == 2 {
        return None;
    }
    let line = &text[at.saturating_sub(MAX_COMMAND)..at];
    if name == b"pw" && has_command(line, &[b"plink", b"pscp", b"psftp", b"putty"]) {
        return argument(text, end);
    }
    short(text, at, start, name[0]).or_else(|| {
        // `-sSfu bob:x`.
        let several = name.len() > 2 && name.ends_with(b"u") && name.iter().all(|&b| is(b, UPPER | LOWER));
        let user = several && !has_command(line, MYSQL) && has_command(line, &[b"curl"]);
        if user { argument(text, end).and_then(|f| after_colon(text, f)) } else { None }
    })
}

/// Whether one of the arguments before `at`, in the same command, is the name of a secret whose value an option gives:
/// `gh secret set API_TOKEN --body x`, `put-parameter --name /prod/db/password --value x`.
fn named_before(text: &[u8], at: usize) -> bool {
    let least = at.saturating_sub(MAX_COMMAND);
    let from = memchr::memrchr2(b'\n', b'|', &text[least..at]).map_or(least, |p| least + p + 1);
    let word = |w: &[u8]| {
        let name = w.rsplit(|&b| b == b'/').next().unwrap_or(w);
        !w.starts_with(b"-") && !w.contains(&b':') && name.len() > 6 && key::word_of(name) == Some(Word::Plain)
    };
    text[from..at].split(|&b| matches!(b, b' ' | b'"' | b'\'' | b',')).any(word)
}

/// The argument behind an option that ends at `end`: after a blank, or after the quotes and the comma of a list.
fn argument(text: &[u8], end: usize) -> Option<Found> {
    let mut at = end;
    if text.get(at) == Some(&b'\n') {
        // The next of a list in YAML.
        let item = ends::skip_space(text, at);
        return if text[item..].starts_with(b"- ") { plain(text, item + 2) } else { None };
    }
    if let Some((close, _)) = ends::quote_at(text, at) {
        at = ends::skip_space(text, close + 1);
        if text.get(at) != Some(&b',') {
            return None;
        }
        at = ends::skip_space(text, at + 1);
        let (open, _) = ends::quote_at(text, at)?;
        if text[open + 1..].starts_with(b"--") {
            return None;
        }
    } else if text.get(at) != Some(&b' ') {
        return None;
    }
    let at = ends::skip_blanks(text, at);
    if text.get(at) == Some(&b'-') && is_at(text, at + 1, UPPER | LOWER) || text.get(at..at + 2) == Some(b"--") {
        return None;
    }
    plain(text, at)
}

fn after_colon(text: &[u8], found: Found) -> Option<Found> {
    let colon = found.start + memchr::memchr(b':', &text[found.start..found.end])?;
    (colon + 1 < found.end).then(|| Found::plain(colon + 1, found.end))
}

/// Commands of which an option of one letter is a password; with a blank in between, the last two words.
const COMMANDS: &[(u8, &[&[u8]])] = &[
    (
        b'p',
        &[
            b"sshpass",
            b"docker login",
            b"podman login",
            b"registry login",
            b"mongo",
            b"mongosh",
            b"mongodump",
            b"mongorestore",
            b"az login",
            b"rabbitmqadmin",
            b"7z",
            b"unrar",
            b"cqlsh",
            b"oc login",
            b"psexec",
            b"nerdctl login",
            b"helm login",
            b"skopeo login",
            b"acr login",
            b"cf login",
            b"beeline",
            b"certutil",
            b"rdesktop",
            b"twine",
            b"evil-winrm",
            b"snowsql",
        ],
    ),
    (
        b'P',
        &[
            b"sqlcmd",
            b"osql",
            b"bcp",
            b"isql",
            b"ipmitool",
            b"mosquitto_pub",
            b"mosquitto_sub",
            b"zip",
            b"unzip",
            b"tsql",
        ],
    ),
    (b'a', &[b"redis-cli", b"http", b"https"]),
    (b'k', &[b"openssl", b"nuget push"]),
    (b'K', &[b"openssl"]),
    (b'N', &[b"ssh-keygen"]),
    (b'y', &[b"nsupdate"]),
    (b'E', &[b"curl"]),
    (b's', &[b"ldappasswd"]),
    (
        b'w',
        &[
            b"ldapsearch",
            b"ldapadd",
            b"ldapmodify",
            b"ldapdelete",
            b"ldappasswd",
            b"ldapwhoami",
            b"add-generic-password",
            b"add-internet-password",
        ],
    ),
    (b'c', &[b"snmpwalk", b"snmpget", b"snmpset", b"snmpbulkwalk", b"snmptrap", b"snmpgetnext"]),
    (b'A', &[b"snmpwalk", b"snmpget", b"snmpset", b"snmpbulkwalk", b"snmptrap"]),
    (b'X', &[b"snmpwalk", b"snmpget", b"snmpset", b"snmpbulkwalk", b"snmptrap"]),
    (b'u', &[b"curl", b"http", b"https", b"wget", b"htpasswd", b"lftp"]),
    (b'U', &[b"smbclient", b"rpcclient", b"net", b"curl"]),
];

/// Those of which the password follows `-p` without a blank.
const MYSQL: &[&[u8]] =
    &[b"mysql", b"mysqldump", b"mysqladmin", b"mariadb", b"mysqlimport", b"mysqlshow", b"mysqlsh", b"mysqlcheck"];

/// Options of one letter, of commands in which they are a password.
fn short(text: &[u8], at: usize, start: usize, letter: u8) -> Option<Found> {
    if letter == b'b' {
        let line = &text[at.saturating_sub(MAX_COMMAND)..at];
        if has_command(line, &[b"curl"]) {
            // Cookies, or a file of them.
            return argument(text, start + 1).filter(|f| text[f.start..f.end].contains(&b'='));
        }
        if !has_command(line, &[b"htpasswd"]) {
            return None;
        }
        let listed = matches!(text.get(start + 1), Some(b'"' | b'\''));
        return if listed {
            string_behind(text, start + 1, 3)
        } else {
            third(text, ends::skip_blanks(text, start + 1))
        };
    }
    let commands = COMMANDS.iter().find(|c| c.0 == letter)?.1;
    let next = text.get(start + 1).copied().unwrap_or(b' ');
    let string =
        matches!(next, b'"' | b'\'') && text.get(start + 2).is_some_and(|&b| b > b' ' && !matches!(b, b',' | b']'));
    let attached = string || (next > b' ' && !matches!(next, b'"' | b'\'' | b','));
    let found = if attached { plain(text, start + 1) } else { argument(text, start + 1) }?;
    let least = at.saturating_sub(MAX_COMMAND);
    let from = memchr::memrchr2(b'\n', b'|', &text[least..at]).map_or(least, |p| least + p + 1);
    let line = &text[from..at];
    if letter == b'p' && attached && has_command(line, MYSQL) {
        return Some(found);
    }
    if !has_command(line, commands) {
        let value = &text[found.start..found.end];
        let plain = !value.iter().any(|b| matches!(b, b'/' | b':' | b'.' | b'=')) && none::looks_secret(value);
        return (letter == b'p' && !attached && plain && beside_user(line)).then_some(found);
    }
    if letter == b'a' {
        return Some(after_colon(text, found).unwrap_or(found));
    }
    if matches!(letter, b'y' | b'E') {
        return after_colon(text, found);
    }
    if !matches!(letter, b'u' | b'U') {
        return Some(found);
    }
    if has_command(line, &[b"lftp"]) {
        let comma = found.start + memchr::memchr(b',', &text[found.start..found.end])?;
        return Some(Found::plain(comma + 1, found.end));
    }
    after_colon(text, found).or_else(|| {
        let percent = found.start + memchr::memchr(b'%', &text[found.start..found.end])?;
        (percent + 1 < found.end).then(|| Found::plain(percent + 1, found.end))
    })
}

/// Whether a line has the option of a user before it, and is no command of which `-p` is something else: `-u bob -p x`.
fn beside_user(line: &[u8]) -> bool {
    const OTHERS: &[&[u8]] = &[
        b"sudo",
        b"su",
        b"runuser",
        b"mkdir",
        b"docker run",
        b"podman run",
        b"nerdctl run",
        b"cp",
        b"tar",
        b"rsync",
        b"install",
        b"ssh",
        b"scp",
        b"sftp",
        b"git",
        b"systemd-run",
        b"useradd",
        b"journalctl",
        b"psql",
        b"pg_dump",
        b"ps",
    ];
    let mut words = line.split(|&b| matches!(b, b' ' | b'"' | b'\'' | b',' | b'[')).filter(|w| !w.is_empty());
    let user = |w: &[u8]| matches!(w, b"-u" | b"-U" | b"--user" | b"--username" | b"--admin-user");
    let named = words.any(user) && words.next().is_some_and(|w| w[0] != b'-');
    named && !has_command(line, OTHERS) && !has_command(line, MYSQL)
}

/// Whether one of the commands is among the words of a line.
fn has_command(line: &[u8], commands: &[&[u8]]) -> bool {
    let mut before: &[u8] = b"";
    line.split(|&b| matches!(b, b' ' | b'"' | b'\'' | b'/' | b',' | b'[' | b'=' | b'\t' | b'('))
        .filter(|w| !w.is_empty())
        .any(|word| {
            let two = |c: &[u8]| c.strip_suffix(word).and_then(|c| c.strip_suffix(b" ")) == Some(before);
            let found = commands.iter().any(|c| *c == word || (c.contains(&b' ') && two(c)));
            before = word;
            found
        })
}

/// The password of `a1 LOGIN bob x`, of IMAP.
fn login(text: &[u8], start: usize, at: usize) -> Option<Found> {
    let tag = start.checked_sub(1).filter(|&t| text[t] == b' ')?;
    let first = key_start(text, tag);
    let begins = first == 0 || matches!(text[first - 1], b'\n' | b' ' | b'"');
    let user = ends::token_of(text, at);
    if begins && first < tag && text.get(user) == Some(&b'"') {
        return plain(text, user);
    }
    let near = &text[at..text.len().min(at + NEAR)];
    let line = near.iter().position(|&b| matches!(b, b'\n' | b'\r')).unwrap_or(near.len());
    let words = near[..line].split(|&b| b == b' ').filter(|w| !w.is_empty()).count();
    if !begins || first == tag || words != 2 {
        return None;
    }
    plain(text, ends::token_of(text, at))
}

/// The passphrase of a user of SNMPv3, behind its method and the length of its key.
fn snmp_v3(text: &[u8], at: usize) -> Option<Found> {
    let found = plain(text, at)?;
    match &text[found.start..found.end] {
        b"128" | b"192" | b"256" => plain(text, found.end),
        _ => Some(found),
    }
}

/// The third word at `at`.
fn third(text: &[u8], at: usize) -> Option<Found> {
    let second = ends::token_of(text, at);
    plain(text, ends::token_of(text, ends::skip_blanks(text, second)))
}

/// A code of four to eight digits: `your code is 123456`, `OTP 123456`.
fn code(text: &[u8], span: Span) -> Option<Found> {
    if is_before(text, span.start, ALNUM) && !text[..span.end].ends_with("ción es ".as_bytes()) {
        return None;
    }
    if text[span.start..].starts_with(b"code") {
        let word = &text[key_start(text, span.start.saturating_sub(1))..span.start.saturating_sub(1)];
        let mine = [&b"your"[..], b"verification", b"security", b"login", b"confirmation", b"access", b"otp"];
        if !mine.iter().any(|w| word.eq_ignore_ascii_case(w)) {
            return None;
        }
    }
    if text[span.start..].starts_with("ción".as_bytes()) && !text[..span.start].ends_with(b"verifica") {
        return None;
    }
    let at = if text[span.end..].starts_with(b"is ") { span.end + 3 } else { span.end };
    let mut end = at + text[at..].iter().take(9).take_while(|&&b| is(b, DIGIT)).count();
    if end == at + 3 && text.get(end) == Some(&b'-') && is_at(text, end + 1, DIGIT) {
        // `482-913`.
        end += 1 + text[end + 1..].iter().take(4).take_while(|&&b| is(b, DIGIT)).count();
    }
    ((4..=8).contains(&(end - at)) && !is_at(text, end, ALNUM)).then(|| Found::plain(at, end))
}

/// The value of an element of XML that was escaped: `&lt;password&gt;x&lt;/password&gt;`.
fn element(text: &[u8], end: usize) -> Option<Found> {
    let start = key_start(text, end);
    let name = &text[start..end];
    if !text[..start].ends_with(b"&lt;") && !text[..start].ends_with(b":") {
        return None;
    }
    key::word_of(name)?;
    let from = end + 4;
    let to =
        memmem::find(&text[from..], b"&lt;").map_or_else(|| plain(text, from).map_or(from, |f| f.end), |p| from + p);
    (from < to).then(|| Found::plain(from, to))
}

/// What follows a word that is not ASCII: behind `：`, `是`, `为`, a colon or a blank.
fn wide(text: &[u8], end: usize) -> Option<Found> {
    const BETWEEN: [&str; 8] = ["：", "＝", "是", "为", "為", "は", ":", "="];
    let mut at = ends::skip_blanks(text, end);
    let first = at;
    for _ in 0..2 {
        if let Some(sign) = BETWEEN.iter().find(|b| text[at..].starts_with(b.as_bytes())) {
            at = ends::skip_blanks(text, at + sign.len());
        }
    }
    if at == first {
        return None;
    }
    let found = plain(text, at)?;
    // Words of the same script say something about it.
    text[found.start..found.end].iter().any(u8::is_ascii_alphanumeric).then_some(found)
}

/// The token behind `Bearer `.
pub(super) fn bearer(text: &[u8], at: usize) -> Option<Found> {
    let at = ends::skip_blanks(text, at);
    let end = at
        + text[at..]
            .iter()
            .take_while(|&&b| is(b, ALNUM) || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=' | b'%'))
            .count();
    let token = &text[at..end];
    let mixed = token.iter().any(|&b| is(b, DIGIT))
        || token.iter().skip(1).any(|&b| is(b, UPPER)) && token.iter().any(|&b| is(b, LOWER));
    let pair = token.iter().rposition(|&b| b != b'=').is_some_and(|last| token[..last].contains(&b'='));
    (token.len() >= 8 && mixed && !pair).then(|| Found::plain(at, end))
}

/// The credentials behind `Basic `: base64 of a text with a colon.
pub(super) fn basic(text: &[u8], at: usize) -> Option<Found> {
    let at = ends::skip_blanks(text, at);
    let end = at + text[at..].iter().take_while(|&&b| is(b, ALNUM) || matches!(b, b'+' | b'/' | b'=')).count();
    let token = &text[at..end];
    if token.len() < 8 || token.len() > 400 {
        return None;
    }
    let mut colon = false;
    for group in token.chunks_exact(4) {
        let mut bits = 0u32;
        let mut bytes = 3;
        for &b in group {
            let six = match b {
                b'A'..=b'Z' => b - b'A',
                b'a'..=b'z' => b - b'a' + 26,
                b'0'..=b'9' => b - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => {
                    bytes -= 1;
                    0
                }
            };
            bits = bits << 6 | u32::from(six);
        }
        for i in 0..bytes.max(0) {
            let b = (bits >> (16 - 8 * i)) as u8;
            if b < b' ' || b == 0x7f {
                return None;
            }
            colon |= b == b':';
        }
    }
    colon.then(|| Found::plain(at, end))
}

/// Commands of protocols: `AUTH PLAIN x`, `AUTH x`, `PASS x`.
fn command(text: &[u8], at: usize) -> Option<Found> {
    const MECHANISMS: [&[u8]; 7] = [b"PLAIN", b"LOGIN", b"XOAUTH2", b"CRAM-MD5", b"NTLM", b"OAUTHBEARER", b"EXTERNAL"];
    let keyword = at - 5;
    if is_before(text, keyword, ALNUM) {
        return None;
    }
    let auth = text[keyword] == b'A';
    if !auth && (text[..keyword].ends_with(b"..") || text[..keyword].ends_with(b"\\n")) {
        // In a dump of what went over the wire.
        return short_word(text, at).filter(|f| none::looks_secret(&text[f.start..f.end]));
    }
    if auth && text[..keyword].ends_with(b"HELLO 3 ") {
        return plain(text, ends::token_of(text, at));
    }
    let near = text.len().min(at + NEAR);
    let line = text[at..near].iter().position(|&b| matches!(b, b'\n' | b'\r')).map_or(near, |p| at + p);
    if line == near && near < text.len() {
        return None;
    }
    let first = at + text[at..line].iter().take_while(|&&b| b > b' ').count();
    if auth && MECHANISMS.contains(&&text[at..first]) {
        let found = plain(text, first)?;
        return Some(found).filter(|f| f.end - f.start >= 4);
    }
    // One word, or two with the user first, up to the end of the line.
    let starts = keyword == 0
        || text[..keyword].ends_with(b"AUTHINFO ")
        || matches!(text[keyword - 1], b'\n' | b'>' | b':' | b'"')
        || text[..keyword].ends_with(b"> ")
        || text[..keyword].ends_with(b": ");
    let words = text[at..line].split(|&b| b == b' ').filter(|w| !w.is_empty()).count();
    let path = text[at..first].iter().any(|b| matches!(b, b'/' | b'.'));
    let quotes = text[at..line].contains(&b'"') && !text[at..line].starts_with(b"\"");
    if !starts || quotes || path && !auth {
        return None;
    }
    match words {
        1 => plain(text, at),
        2 if auth => plain(text, first),
        _ => None,
    }
}

/// What follows a word such as `password` after a blank.
fn word(text: &[u8], end: usize) -> Option<Found> {
    if matches!(text.get(end), Some(b':' | b'=' | b'>' | b',')) {
        return None;
    }
    let blank = end - 1;
    let start = key_start(text, blank);
    let name = &text[start..blank];
    let least = start.saturating_sub(MAX_COMMAND);
    let line = text[least..start].iter().rev().take_while(|&&b| b != b'\n').count();
    let before = &text[start - line..start];
    if name.eq_ignore_ascii_case(b"community") {
        let snmp = memmem::find(before, b"snmp").is_some();
        return if snmp { plain(text, end) } else { None };
    }
    if name == b"key" && before.ends_with(b"private ") && text[end..].starts_with(b"0x") {
        return plain(text, end).filter(|f| f.end - f.start >= 40);
    }
    if name.first() == Some(&b'$') {
        // A variable of a shell.
        return None;
    }
    if name == b"pass" && memmem::find(before, b"rclone config").is_some() {
        return plain(text, end);
    }
    if name.eq_ignore_ascii_case(b"key") || name.eq_ignore_ascii_case(b"pass") {
        if let Some(found) = device(text, end, before, name) {
            return Some(found);
        }
        let api = before.len() >= 4 && before[before.len() - 4..].eq_ignore_ascii_case(b"api ");
        return if api { sentence(text, end, Word::Plain) } else { None };
    }
    if before.windows(2).rposition(|w| w == b"{{").is_some_and(|open| !before[open..].contains(&b'}')) {
        // A template.
        return None;
    }
    if name == b"passe" {
        return if before.ends_with(b"ot de ") { sentence(text, end, Word::Plain) } else { None };
    }
    if name == b"phash" || name == b"key-string" {
        return device(text, end, before, name).or_else(|| plain(text, end).filter(|f| signs(&text[f.start..f.end])));
    }
    if name == b"wpa_passphrase" {
        return plain(text, ends::token_of(text, end));
    }
    let word = key::word_of(name)?;
    if word == Word::Random {
        return plain(text, end).filter(|f| !none::no_secret(word, &text[f.start..f.end]));
    }
    if !matches!(word, Word::Plain | Word::Token) {
        return None;
    }
    // Lines of `.netrc`, of devices and of servers.
    let netrc = memmem::find(before, b"machine ").is_some()
        || memmem::find(before, b"login ").is_some()
        || before.starts_with(b"default ");
    let directive = before.iter().all(|&b| matches!(b, b' ' | b'\t'))
        && matches!(name, b"requirepass" | b"masterauth" | b"rocommunity" | b"rwcommunity" | b"bindpw" | b"rootpw");
    // Words in brackets stand for what is to be given.
    let netrc = netrc && !matches!(text.get(end), Some(b'[' | b'<' | b'{' | b'('));
    if (netrc && name.eq_ignore_ascii_case(b"password")) || directive {
        let mut at = end;
        while text[at..].starts_with(b"--") {
            // `rootpw --plaintext x`.
            at = ends::token_of(text, at);
        }
        return plain(text, at);
    }
    if let Some(found) = dollar_quoted(text, end) {
        return Some(found);
    }
    if let Some(found) = device(text, end, before, name) {
        return Some(found);
    }
    if let Some(found) = table(text, end) {
        return Some(found);
    }
    sentence(text, end, word)
}

/// A string in the quotes of PostgreSQL: `PASSWORD $tag$x$tag$`.
fn dollar_quoted(text: &[u8], at: usize) -> Option<Found> {
    if text.get(at) != Some(&b'$') {
        return None;
    }
    let tag = at + 2 + memchr::memchr(b'$', &text[at + 1..text.len().min(at + 32)])?;
    let len = memmem::find(&text[tag..text.len().min(tag + NEAR)], &text[at..tag]).filter(|&len| len > 0)?;
    Some(Found::plain(tag, tag + len))
}

/// A value in a sentence, which looks like a secret.
fn sentence(text: &[u8], end: usize, word: Word) -> Option<Found> {
    if let Some(found) = programs::of_whom(text, end) {
        return Some(found);
    }
    let mut at = end;
    // `password of db1 is x`, `token for bob is x`.
    if text[at..].starts_with(b"of ") || text[at..].starts_with(b"for ") {
        let of = ends::token_of(text, ends::token_of(text, at));
        if text[of..].starts_with(b"is ") {
            at = of;
        } else if let Some(found) = programs::for_user(text, ends::token_of(text, at)) {
            return Some(found);
        }
    }
    const FILLERS: [&[u8]; 14] = [
        b"est ",
        b"lautet ",
        b"ist ",
        b"es ",
        "— ".as_bytes(),
        b"is ",
        b"was ",
        b"to ",
        b"= ",
        b"of ",
        b"set to ",
        b"has been set to ",
        b"has been reset to ",
        b"changed from ",
    ];
    for filler in FILLERS {
        if text[at..].starts_with(filler) {
            at += filler.len();
            break;
        }
    }
    let said = at > end;
    let found = short_word(text, at)?;
    let value = &text[found.start..found.end];
    let value = value.strip_suffix(b".").unwrap_or(value);
    let version = value.first() == Some(&b'v') && is_at(value, 1, DIGIT);
    let path = value.iter().any(|b| matches!(b, b'/' | b'(' | b'='));
    let long = word != Word::Token || value.len() >= 12 || said;
    (none::looks_secret(value) && long && !version && !path)
        .then(|| Found::plain(found.start, found.start + value.len()))
}

/// What stands behind an arrow, in the next cell of a table, behind dots or in a registry: `password -> x`, `password   | x`,
/// `password ..... x`, `Password  REG_SZ  x`; where it looks like a secret.
fn table(text: &[u8], end: usize) -> Option<Found> {
    let at = ends::skip_blanks(text, end);
    let dots = text[at..].iter().take(48).take_while(|&&b| b == b'.').count();
    let sign = if dots >= 3 {
        dots
    } else {
        ["->", "→", "—", "|", "│", "REG_SZ"].iter().find(|s| text[at..].starts_with(s.as_bytes()))?.len()
    };
    if text.get(at + sign) != Some(&b' ') {
        return None;
    }
    short_word(text, at + sign).filter(|f| none::looks_secret(&text[f.start..f.end]))
}

/// A secret behind the word that says how it is written: `password cipher x`, `pre-shared-key ascii-text "x"`.
fn of_named_type(text: &[u8], at: usize) -> Option<Found> {
    const TYPES: [&[u8]; 10] = [
        b"ENC",
        b"ascii-text",
        b"ascii",
        b"hexadecimal",
        b"cipher",
        b"irreversible-cipher",
        b"plaintext",
        b"plain-text",
        b"encrypted",
        b"simple",
    ];
    let near = &text[at..text.len().min(at + 24)];
    let word = &near[..near.iter().position(|&b| b == b' ')?];
    if !TYPES.contains(&word) {
        return None;
    }
    let mut value = at + word.len() + 1;
    if is_at(text, value, DIGIT) && text.get(value + 1) == Some(&b' ') {
        value += 2;
    }
    plain(text, value).filter(|f| text[value] == b'"' || signs(&text[f.start..f.end]))
}

/// Whether a word has what no ordinary word has: digits or signs.
fn signs(value: &[u8]) -> bool {
    value.len() >= 4 && value.iter().any(|&b| is(b, DIGIT) || matches!(b, b'$' | b'!'))
}

/// Configurations of network devices: `password 7 x`, `secret 5 x`, `tacacs-server key x`, `neighbor a password x`.
fn device(text: &[u8], end: usize, before: &[u8], name: &[u8]) -> Option<Found> {
    let of_type = is_at(text, end, DIGIT) && text.get(end + 1) == Some(&b' ');
    if of_type {
        let found = plain(text, end + 2)?;
        return (signs(&text[found.start..found.end]) || text[end] == b'0').then_some(found);
    }
    if let Some(found) = of_named_type(text, end) {
        return Some(found);
    }
    const LINES: [&[u8]; 9] = [
        b"username ",
        b"enable ",
        b"neighbor ",
        b"tacacs-server ",
        b"radius-server ",
        b"isakmp ",
        b"user ",
        b"wpa-",
        b"set ",
    ];
    let mut begins = true;
    let configured = before.iter().enumerate().any(|(i, &b)| {
        let first = begins && matches!(b, b'u' | b'e' | b'n' | b't' | b'r' | b'i' | b'w' | b's');
        begins = b == b' ';
        first && LINES.iter().any(|l| before[i..].starts_with(l))
    });
    let strong = !name.eq_ignore_ascii_case(b"key")
        || memmem::find(before, b"-server ").is_some()
        || memmem::find(before, b"isakmp ").is_some();
    if !configured || !strong || memmem::find(before, b" for ").is_some() {
        return None;
    }
    let found = plain(text, end)?;
    let value = &text[found.start..found.end];
    let sentence = value.iter().all(|&b| is(b, LOWER)) && value.len() < 6 || value.starts_with(b"--");
    let rest = ends::skip_blanks(text, found.end);
    let over = rest >= text.len() || matches!(text[rest], b'\n' | b'\r' | b'"' | b'\'') || none::looks_secret(value);
    (over && !sentence).then_some(found)
}
