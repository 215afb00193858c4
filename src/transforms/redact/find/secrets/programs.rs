//! Grammars of single programs, whose secrets stand by their place and not behind a word that says so.
//!
//! By what they begin with: keys (`client_send = ^bob^x` of Exim, `UserInfo: bob:x`, `code=x&state=y` of OAuth, `::add-mask::x`),
//! words (`stats auth bob:x` of HAProxy, `poetry config http-basic.a bob x`, `K 8`, `password`, `V 11` of Subversion) and quotes
//! (`$password`, `[1] "x"` of R, `value changed 'x' to 'y'` of Puppet, `The value 'x' is not valid for Password.`).
//!
//! Each asks for what only that program writes, so that nothing else is taken for it.

use super::ends::{line_break, line_end, quote_at, quote_end, skip_blanks, skip_space, token_of};
use super::header::after_scheme;
use super::{Key, Quote, Word, key, key_start, none, words};
use crate::transforms::redact::ascii::{ALNUM, DIGIT, HEX, LOWER, UPPER, is, is_at, run, run_back};
use crate::transforms::redact::find::Found;
use memchr::{memchr, memmem, memrchr};

/// How far what belongs together is looked for.
const NEAR: usize = 200;

/// Keys of [`named`] and of [`super::odd::named`] with more than two letters, but those with `u`.
const NAMES: [&[u8]; 15] = [
    b"Private-Lines",
    b"add-mask",
    b"keyName",
    b"basic",
    b"client_send",
    b"code",
    b"cs1Label",
    b"data",
    b"default",
    b"encoded",
    b"inline",
    b"login",
    b"proxy-user",
    b"resp",
    b"sec-websocket-protocol",
];

/// By the lower five bits of their first byte: one bit for each length that one of [`NAMES`] has, the last for fifteen and more; all for one or two letters, and
/// for those with `u`.
static LENGTHS: [u16; 32] = {
    let mut lengths = [0b110; 32];
    let mut i = 0;
    while i < NAMES.len() {
        let len = NAMES[i].len();
        lengths[(NAMES[i][0] & 31) as usize] |= 1 << if len < 15 { len } else { 15 };
        i += 1;
    }
    lengths[(b'u' & 31) as usize] = u16::MAX;
    lengths
};

/// Whether a key may be one of [`named`].
#[inline(always)]
pub(super) fn may_be_named(name: &[u8]) -> bool {
    LENGTHS[usize::from(name[0] & 31)] >> name.len().min(15) & 1 != 0
}

fn near_before(text: &[u8], at: usize) -> &[u8] {
    &text[at.saturating_sub(NEAR)..at]
}

fn has(text: &[u8], word: &[u8]) -> bool {
    memmem::find(text, word).is_some()
}

fn real(text: &[u8], start: usize, end: usize) -> Option<Found> {
    (start < end && !none::is_placeholder(&text[start..end])).then(|| Found::plain(start, end))
}

/// The password of `bob:x` at `at`, perhaps in quotes.
fn user_and_password(text: &[u8], at: usize) -> Option<Found> {
    let at = skip_blanks(text, at);
    let start = quote_at(text, at).map_or(at, |q| q.0 + 1);
    let over = |b: u8| b <= b' ' || matches!(b, b'"' | b'\'' | b',' | b';' | b')' | b']' | b'}' | b'\\');
    let end = start + text[start..].iter().take(NEAR).take_while(|&&b| !over(b)).count();
    let user = text[start..end].iter().take_while(|&&b| is(b, ALNUM) || matches!(b, b'.' | b'_' | b'-' | b'@')).count();
    let colon = start + user;
    if user == 0 || text.get(colon) != Some(&b':') || text[colon + 1..end].starts_with(b"//") {
        return None;
    }
    real(text, colon + 1, end).filter(|f| !text[f.start..f.end].iter().all(|&b| is(b, DIGIT)))
}

/// The secret behind a key that is no word of one.
#[inline(never)]
pub(super) fn named(text: &[u8], sep: usize, after: usize, key: &Key) -> Option<Found> {
    let name = &text[key.start..key.end];
    let before = &text[..key.start];
    match name {
        b"UserInfo" | b"userinfo" => user_and_password(text, after),
        b"user" | b"proxy-user" if text[sep] == b'=' && key.quote == Quote::None => {
            // A line of `.curlrc`.
            let first = matches!(before.trim_ascii_end().last(), None | Some(b'\n')) || before.ends_with(b"\n");
            let quoted = quote_at(text, skip_blanks(text, after)).is_some();
            let found = if first && quoted { user_and_password(text, after) } else { None };
            found.filter(|f| none::looks_secret(&text[f.start..f.end]))
        }
        b"login" if text[sep] == b'=' && has(near_before(text, key.start), b"cache_peer ") => {
            user_and_password(text, after)
        }
        b"client_send" => {
            let start = skip_blanks(text, after);
            let end = line_end(text, start);
            let last = memrchr(b'^', &text[start..end]).filter(|&p| p > 0)?;
            real(text, start + last + 1, end)
        }
        b"encoded" | b"basic" if matches!(key.quote, Quote::Double(_)) => {
            let (open, _) = quote_at(text, skip_space(text, after))?;
            words::basic(text, open + 1)
        }
        b"resp" if text[sep] == b'=' && has(near_before(text, key.start), b"AUTH\t") => {
            let end =
                after + text[after..].iter().take_while(|&&b| is(b, ALNUM) || matches!(b, b'+' | b'/' | b'=')).count();
            real(text, after, end).filter(|f| f.end - f.start >= 8)
        }
        b"code" if text[sep] == b'=' => code_of_login(text, after, key),
        b"data" if before.ends_with(b"otpauth-migration://offline?") => {
            let end =
                after + text[after..].iter().take_while(|&&b| b > b' ' && !matches!(b, b'&' | b'"' | b'\'')).count();
            real(text, after, end)
        }
        b"add-mask" if before.ends_with(b"::") && text[after..].starts_with(b":") => {
            real(text, after + 1, line_end(text, after + 1))
        }
        b"P" if before.ends_with(b"\"") && has(near_before(text, key.start), b"AuthInfo:") => {
            let end = after + memchr(b'"', &text[after..])?;
            real(text, after, end)
        }
        b"keyName" => {
            // As `az storage account keys list` prints them.
            let rest = &text[after..text.len().min(after + NEAR)];
            let value = after + memmem::find(rest, b"\"value\"")? + 7;
            let (open, _) =
                quote_at(text, skip_space(text, text.get(value).filter(|&&b| b == b':').map(|_| value + 1)?))?;
            string(text, open).filter(|f| f.end - f.start >= 40)
        }
        _ if name.eq_ignore_ascii_case(b"sec-websocket-protocol") => {
            let near = &text[after..text.len().min(after + NEAR)];
            words::bearer(text, after + memmem::find(near, b"bearer, ")? + 8)
        }
        _ if name.ends_with(b"Label") => labelled(text, after, key),
        _ => None,
    }
}

/// The password of `user/pass: bob/x`; nothing in it where it stands for one.
#[inline(never)]
pub(super) fn behind_slash(text: &[u8], after: usize, key: &Key) -> Option<Option<Found>> {
    let head = text[..key.start].strip_suffix(b"/")?;
    let user = &head[key_start(head, head.len())..];
    if ![&b"user"[..], b"username", b"login", b"User", b"Username", b"Login"].contains(&user) {
        return None;
    }
    let start = skip_blanks(text, after);
    let end =
        start + text[start..].iter().take(NEAR).take_while(|&&b| b > b' ' && !matches!(b, b'"' | b',' | b';')).count();
    let slash = start + text[start..end].iter().position(|&b| matches!(b, b'/' | b':')).filter(|&p| p > 0)?;
    Some(real(text, slash + 1, end))
}

/// The code that a login of OAuth gives away: `?code=x&state=y`, `grant_type=authorization_code&code=x`.
#[inline(never)]
fn code_of_login(text: &[u8], after: usize, key: &Key) -> Option<Found> {
    let end = after
        + text[after..]
            .iter()
            .take(512)
            .take_while(|&&b| is(b, ALNUM) || matches!(b, b'-' | b'_' | b'.' | b'/' | b'~' | b'%'))
            .count();
    let value = &text[after..end];
    let head = near_before(text, key.start);
    let url = matches!(head.last(), Some(b'?' | b'&'));
    let oauth = has(&text[end..text.len().min(end + NEAR)], b"&state=")
        || has(head, b"state=")
        || has(head, b"grant_type=authorization_code")
        || has(&text[end..text.len().min(end + NEAR)], b"grant_type=authorization_code");
    (url && oauth && value.len() >= 16 && none::looks_secret(value)).then(|| Found::plain(after, end))
}

/// The value of the field whose name a label has: `cs1Label=password cs1=x` of CEF, in any order.
#[inline(never)]
fn labelled(text: &[u8], after: usize, key: &Key) -> Option<Found> {
    let field = text[key.start..key.end].strip_suffix(b"Label")?;
    let end = after + text[after..].iter().take(64).take_while(|&&b| is(b, ALNUM) || matches!(b, b'_' | b'-')).count();
    key::word_of(&text[after..end]).filter(|w| !none::doubtful(*w) || *w == Word::Token)?;
    let from = key.start.saturating_sub(NEAR);
    let to = text.len().min(end + NEAR);
    let place = memmem::find_iter(&text[from..to], field)
        .map(|p| from + p)
        .find(|&p| p > 0 && matches!(text[p - 1], b' ' | b'|') && text.get(p + field.len()) == Some(&b'='))?;
    let start = place + field.len() + 1;
    let line = line_end(text, start);
    // Up to the next `name=`.
    let mut over = line;
    if let Some(p) = memchr(b'=', &text[start..line]) {
        let name = run_back(text, start, start + p, ALNUM);
        over = if text[..name].ends_with(b" ") { name - 1 } else { line };
    }
    real(text, start, over)
}

/// The value of an explicit key of YAML, whose colon stands first in its line: `? password` and `: x` below.
#[cold]
pub(super) fn explicit_key(text: &[u8], colon: usize) -> Option<Found> {
    let line = &text[..colon - 1];
    let line = &line[memrchr(b'\n', line).map_or(0, |p| p + 1)..];
    let name = line.trim_ascii_start().strip_prefix(b"? ")?.trim_ascii();
    key::word_of(name).filter(|w| !none::doubtful(*w) || *w == Word::Token)?;
    let start = skip_blanks(text, colon + 1);
    let start = quote_at(text, start).map_or(start, |q| q.0 + 1);
    let end = line_end(text, start);
    let end = if start > 0 && matches!(text[start - 1], b'"' | b'\'') {
        memrchr(text[start - 1], &text[start..end]).map_or(end, |p| start + p)
    } else {
        end
    };
    real(text, start, end)
}

/// The hashes of a user in a dump of Windows: `bob:1001:<32 digits>:<32 digits>:::`.
#[inline(never)]
pub(super) fn hashes_of_windows(text: &[u8], at: usize) -> Option<Found> {
    const LEN: usize = 65;
    let both = text.get(at..at + LEN)?;
    let digits = both.iter().enumerate().all(|(i, &b)| if i == 32 { b == b':' } else { is(b, HEX) });
    // With the colons, so that nothing of it looks like another such line.
    let colons = text[at + LEN..].iter().take(3).take_while(|&&b| b == b':').count();
    (digits && colons >= 2).then(|| Found::plain(at, at + LEN + colons))
}

/// Codes in the lines below `recovery codes:`, one or several in each.
#[inline(never)]
pub(super) fn codes_below(text: &[u8], line: &[u8], at: usize) -> Option<Found> {
    let said = has(line, b"codes") && [&b"scratch"[..], b"recovery", b"backup", b"2FA"].iter().any(|w| has(line, w));
    let start = if said { skip_space(text, at) } else { return None };
    let mut end = start;
    let mut next = start;
    loop {
        let over = line_end(text, next);
        let codes = text[next..over].trim_ascii();
        let part = |&b: &u8| is(b, ALNUM) || matches!(b, b'-' | b' ' | b'\t');
        if codes.len() < 6 || !codes.iter().all(part) || !codes.iter().any(|&b| is(b, DIGIT)) {
            break;
        }
        end = over;
        match line_break(text, over) {
            Some(line) => next = skip_blanks(text, line),
            None => break,
        }
    }
    real(text, start, super::ends::space_before(text, end).max(start))
}

/// The words of [`behind`].
pub(super) const ENDINGS: [&str; 9] = [
    "bundle config ",
    "poetry config ",
    "composer config ",
    "stats auth ",
    "password\nV ",
    "passphrase\nV ",
    "SSWS ",
    "pat ",
    "connect string ",
];

/// The secret behind, or before, what only one program writes, which ends with `end`.
#[inline(never)]
pub(super) fn behind(text: &[u8], start: usize, end: usize) -> Option<Found> {
    match &text[start..end] {
        b"stats auth " => user_and_password(text, end),
        b"password\nV " | b"passphrase\nV " => of_subversion(text, end),
        b"connect string " => words::oracle(text, end),
        b"SSWS " => token_of_length(text, end, 20),
        b"pat " => token_of_length(text, end, 40).filter(|f| !text[f.start..f.end].iter().any(|&b| !is(b, ALNUM))),
        _ => configured(text, end),
    }
}

fn token_of_length(text: &[u8], at: usize, least: usize) -> Option<Found> {
    let end = at + text[at..].iter().take_while(|&&b| is(b, ALNUM) || matches!(b, b'-' | b'_')).count();
    let value = &text[at..end];
    (value.len() >= least && none::looks_secret(value) && value.iter().any(|&b| is(b, DIGIT)))
        .then(|| Found::plain(at, end))
}

/// The value of so many bytes in the line below `V 11`.
#[inline(never)]
fn of_subversion(text: &[u8], at: usize) -> Option<Found> {
    let digits = run(&text[..text.len().min(at + 6)], at, DIGIT);
    let length: usize = str::from_utf8(&text[at..digits]).ok()?.parse().ok()?;
    let start = line_break(text, digits)?;
    real(text, start, line_end(text, start).min(start + length))
}

/// The password that a user has typed wrong, whose bracket is at `open`: `[bob/x] (from client …)`.
#[cold]
pub(super) fn of_radius(text: &[u8], open: usize) -> Option<Found> {
    let near = &text[open..text.len().min(open + NEAR)];
    let end = open + memmem::find(near, b"] (from client ")?;
    let slash = open + memchr(b'/', &text[open..end])?;
    real(text, slash + 1, end).filter(|f| !text[f.start..f.end].starts_with(b"<via"))
}

/// The last word of a command that keeps credentials: `bundle config set --global host bob:x`, `poetry config
/// http-basic.name bob x`, `composer config -g github-oauth.github.com x`.
#[inline(never)]
fn configured(text: &[u8], at: usize) -> Option<Found> {
    const STORES: [&[u8]; 8] = [
        b"http-basic.",
        b"github-oauth.",
        b"gitlab-oauth.",
        b"gitlab-token.",
        b"bitbucket-oauth.",
        b"pypi-token.",
        b"bearer.",
        b"custom-headers.",
    ];
    let line = line_end(text, at).min(at + NEAR);
    let mut words = text[at..line].split(|&b| b <= b' ' || matches!(b, b'"' | b'\'')).filter(|w| !w.is_empty());
    let stored = words.clone().any(|w| STORES.iter().any(|s| w.starts_with(s)));
    let last = words.next_back()?;
    let start = at + memmem::rfind(&text[at..line], last)?;
    if stored {
        return real(text, start, start + last.len())
            .filter(|_| !last.starts_with(b"-") && !STORES.iter().any(|s| last.starts_with(s)));
    }
    if text[..at].ends_with(b"bundle config ") { user_and_password(text, start) } else { None }
}

/// The value that a tool shows without a key in the same string: `$password`, `[1] "x"`; `value changed 'x' to 'y'`; `The value
/// 'x' is not valid for Password.`; what GitHub Actions evaluates; `\0bob\0x` of SASL; hashes of passwords.
#[inline]
pub(super) fn quoted(text: &[u8], sign: usize) -> Option<Found> {
    let (last, next) = (sign.checked_sub(1).map(|p| text[p]), *text.get(sign + 1)?);
    if matches!(next, b'\\' | 0 | b'p' | b'a' | b's' | b'$') {
        return quoted_hash(text, sign, next);
    }
    match last {
        Some(b' ') => spaced(text, sign),
        None | Some(b'\n') => too_short(text, sign),
        _ => None,
    }
}

/// The string that begins behind the quote at `sign`.
fn string(text: &[u8], sign: usize) -> Option<Found> {
    let slashes = super::ends::slashes_before(text, sign);
    let (end, _) = quote_end(text, sign + 1, text[sign], slashes)?;
    real(text, sign + 1, end)
}

#[inline(never)]
fn spaced(text: &[u8], sign: usize) -> Option<Found> {
    let head = &text[..sign - 1];
    match head.last()? {
        b']' if head.ends_with(b"[1]") => {
            let line = head[..head.len() - 3].strip_suffix(b"\n")?;
            let name = &line[memrchr(b'\n', line).map_or(0, |p| p + 1)..];
            key::word_of(name.strip_prefix(b"$")?).filter(|w| !none::doubtful(*w) || *w == Word::Token)?;
            string(text, sign)
        }
        b'>' if head.ends_with(b"=>") && has(near_before(text, sign), b"Evaluating: secrets.") => string(text, sign),
        b'd' | b'o' | b'm' => changed(text, sign, head),
        // What is read from here by a command that names it: `secret put API_TOKEN <<< "x"`.
        b'<' if head.ends_with(b"<<<") => {
            let line = near_before(text, sign);
            let line = &line[memrchr(b'\n', line).map_or(0, |p| p + 1)..];
            let word = |w: &[u8]| key::is_name(w) || w == b"chpasswd" || w.ends_with(b"stdin");
            if line.split(|&b| b == b' ').any(word) { string(text, sign) } else { None }
        }
        // What Go says of a URL whose password has a slash: `invalid port ":x" after host`.
        b't' if head.ends_with(b"invalid port") && text.get(sign + 1) == Some(&b':') => {
            memchr(b'@', near_before(text, sign))?;
            let found = string(text, sign)?;
            real(text, found.start + 1, found.end).filter(|f| !text[f.start..f.end].iter().all(|&b| is(b, DIGIT)))
        }
        b'e' if head.ends_with(b"value") => {
            let found = string(text, sign)?;
            let rest = &text[found.end..text.len().min(found.end + 80)];
            let behind = memmem::find(rest, b" for ").map(|p| &rest[p + 5..])?;
            let name = &behind[..behind.iter().take_while(|&&b| is(b, ALNUM) || matches!(b, b'_' | b'-')).count()];
            let said = has(rest, b"valid for") || has(rest, b"invalid") || has(rest, b"not allowed");
            (said && key::word_of(name).is_some_and(|w| matches!(w, Word::Plain | Word::Token))).then_some(found)
        }
        _ => None,
    }
}

/// What is changed from and to, where the line names a secret before it: `Setting[db_password]/value: value changed 'x' to 'y'`.
fn changed(text: &[u8], sign: usize, head: &[u8]) -> Option<Found> {
    let to = head.strip_suffix(b" to").filter(|h| matches!(h.last(), Some(b'\'' | b'"')));
    if !head.ends_with(b"changed") && !head.ends_with(b"changed from") && to.is_none() {
        return None;
    }
    let least = sign.saturating_sub(NEAR);
    let line = &text[memrchr(b'\n', &text[least..sign]).map_or(least, |p| least + p + 1)..sign];
    if !has(line, b"changed") {
        return None;
    }
    let name = |b: u8| is(b, ALNUM) || matches!(b, b'_' | b'-');
    let word = |w: &[u8]| w.len() > 5 && key::word_of(w) == Some(Word::Plain) && w != b"password" || w == b"password]";
    let before = &line[..memmem::find(line, b"changed")?];
    let said = before.split(|&b| !name(b)).any(word);
    if said { string(text, sign) } else { None }
}

/// `'x' is too short`, where what follows says of what: `On instance['password']`.
#[inline(never)]
fn too_short(text: &[u8], sign: usize) -> Option<Found> {
    let found = string(text, sign)?;
    let rest = &text[found.end + 1..text.len().min(found.end + NEAR)];
    if ![&b" is too "[..], b" does not match", b" is not ", b" was expected"].iter().any(|s| rest.starts_with(s)) {
        return None;
    }
    let at = memmem::find(rest, b"instance[")? + 10;
    let name = rest.get(at..)?;
    let name = &name[..name.iter().take_while(|&&b| is(b, ALNUM) || matches!(b, b'_' | b'-')).count()];
    key::word_of(name).is_some_and(|w| matches!(w, Word::Plain | Word::Token)).then_some(found)
}

/// A hash of a password as frameworks write it (`pbkdf2_sha256$…`), or user and password between zeros.
#[inline(never)]
fn quoted_hash(text: &[u8], sign: usize, next: u8) -> Option<Found> {
    const HASHES: [&[u8]; 9] =
        [b"pbkdf2_", b"pbkdf2:", b"argon2$", b"scrypt:", b"scrypt$", b"$argon2", b"$2a$", b"$2b$", b"$2y$"];
    let start = sign + 1;
    let rest = &text[start..];
    if matches!(next, b'\\' | 0) {
        const ZEROS: [&[u8]; 4] = [b"\0", b"\\x00", b"\\u0000", b"\\0"];
        let zero = ZEROS.iter().find(|z| rest.starts_with(z))?;
        let found = string(text, sign)?;
        let inner = &text[found.start + zero.len()..found.end];
        let second = memmem::rfind(inner, zero).filter(|&p| p > 0)?;
        return real(text, found.start + zero.len() + second + zero.len(), found.end);
    }
    if !HASHES.iter().any(|h| rest.starts_with(h)) {
        return None;
    }
    let found = string(text, sign)?;
    let value = &text[found.start..found.end];
    (value.len() > 20 && value.contains(&b'$') && !value.contains(&b' ')).then_some(found)
}

/// A hash of `crypt` in front of whose last part, at `at`, its sign stands: `$2b$12$x`, `$6$salt$x`; where it begins.
#[inline(never)]
pub(in crate::transforms::redact::find) fn hash_before(text: &[u8], at: usize) -> Option<usize> {
    const IDS: [&[u8]; 12] =
        [b"$1$", b"$2a$", b"$2b$", b"$2y$", b"$5$", b"$6$", b"$7$", b"$y$", b"$gy$", b"$apr1$", b"$argon2", b"$9$"];
    let least = at.saturating_sub(80);
    let part = |b: u8| is(b, ALNUM) || matches!(b, b'$' | b'.' | b'/' | b'=' | b',' | b'+' | b'-');
    let start = at - text[least..at].iter().rev().take_while(|&&b| part(b)).count();
    let sign = start + memchr(b'$', &text[start..at])?;
    // In files of Compose each sign is doubled.
    let one = sign + usize::from(text[sign + 1..].starts_with(b"$"));
    let hash = IDS.iter().any(|id| text[one..].starts_with(id)) || text[one..].starts_with(b"$apr1$$");
    hash.then_some(sign)
}

/// What stands behind dots, as HikariCP lines up what it is set to: `password........x`.
#[inline(never)]
pub(in crate::transforms::redact::find) fn behind_dots(text: &[u8], at: usize) -> Option<Found> {
    let start = at + text[at..].iter().take_while(|&&b| b == b'.').count();
    let end = start + text[start..].iter().take(NEAR).take_while(|&&b| b > b' ' && b != b'"').count();
    real(text, start, end).filter(|f| none::looks_secret(&text[f.start..f.end]))
}

/// The secret that stands in the path of a request, behind its word: `/password/x`, `/token/x`.
#[inline(never)]
pub(in crate::transforms::redact::find) fn in_path(text: &[u8], start: usize, end: usize) -> Option<Found> {
    if start == 0 || text[start - 1] != b'/' {
        return None;
    }
    let over = end
        + text[end..]
            .iter()
            .take(512)
            .take_while(|&&b| is(b, ALNUM) || matches!(b, b'-' | b'_' | b'.' | b'~' | b'%'))
            .count();
    let value = &text[end..over];
    let digits = value.iter().filter(|&&b| is(b, DIGIT)).count();
    let file = memrchr(b'.', value).is_some_and(|p| value.len() - p <= 5);
    let both = value.iter().any(|&b| is(b, UPPER)) && value.iter().any(|&b| is(b, LOWER));
    let hex = value.len() >= 20 && value.iter().all(|&b| is(b, HEX) || b == b'-');
    let random = none::looks_secret(value) && digits > 0 && !file && (both || hex || (value.len() >= 20 && digits > 3));
    let whole = !is_at(text, over, ALNUM);
    (random && whole).then(|| Found::plain(end, over))
}

/// The keys that stand behind an access key id of AWS in the same line: forty characters behind blanks, a comma or a colon.
#[inline(never)]
pub(in crate::transforms::redact::find) fn behind_key_id(text: &[u8], start: usize) -> Option<Found> {
    let id = start + 20;
    let line = line_end(text, id.min(text.len())).min(id + 120);
    let base64 = |b: u8| is(b, ALNUM) || matches!(b, b'+' | b'/');
    let mut at = id;
    while at < line {
        if !base64(text[at]) {
            at += 1;
            continue;
        }
        let end = at + text[at..line].iter().take_while(|&&b| base64(b)).count();
        let value = &text[at..end];
        let apart = matches!(text[at - 1], b' ' | b'\t' | b',' | b':' | b'|' | b';');
        let mixed = value.iter().any(|&b| is(b, UPPER))
            && value.iter().any(|&b| is(b, LOWER))
            && value.iter().any(|&b| is(b, DIGIT));
        if value.len() == 40 && apart && mixed {
            return Some(Found::plain(at, end));
        }
        at = end;
    }
    None
}

/// Behind a list of words that say whose password it is, up to a colon: `Passwort des Benutzers bob: x`.
#[inline(never)]
pub(super) fn of_whom(text: &[u8], at: usize) -> Option<Found> {
    const OF: [&[u8]; 12] = [
        b"des ",
        b"der ",
        "für ".as_bytes(),
        b"von ",
        b"de ",
        b"del ",
        b"du ",
        b"di ",
        b"van ",
        b"para ",
        b"pour ",
        b"of ",
    ];
    if !OF.iter().any(|o| text[at..].starts_with(o)) {
        return None;
    }
    let near = &text[at..text.len().min(at + 60)];
    let colon = memmem::find(near, b": ")?;
    let words = near[..colon].split(|&b| b == b' ').count();
    let simple = near[..colon]
        .iter()
        .all(|&b| is(b, ALNUM) || b >= 0x80 || matches!(b, b' ' | b'_' | b'-' | b'@' | b'.' | b'\''));
    let start = at + colon + 2;
    let end = start + text[start..].iter().take(128).take_while(|&&b| b > b' ' && !matches!(b, b'"' | b',')).count();
    (words <= 5 && simple && none::looks_secret(&text[start..end])).then(|| Found::plain(start, end))
}

/// The password in brackets or not at the end of `for user [bob] to [x]`, which begins at `at`.
#[inline(never)]
pub(super) fn for_user(text: &[u8], at: usize) -> Option<Found> {
    let user = token_of(text, at);
    let to =
        if text[user..].starts_with(b"[") || text[at..].starts_with(b"user ") { token_of(text, user) } else { user };
    let value = text[to..].strip_prefix(b"to ").map(|_| to + 3)?;
    let bracket = text[value..].starts_with(b"[");
    let (start, close) = if bracket { (value + 1, b']') } else { (value, b' ') };
    let near = &text[start..text.len().min(start + NEAR)];
    let len = near.iter().take_while(|&&b| b > b' ' && b != close && b != b'"').count();
    // Not the name of a host.
    let apart = bracket || near[..len].iter().any(|&b| is(b, UPPER));
    (apart && none::looks_secret(&near[..len])).then(|| Found::plain(start, start + len))
}

/// The secret behind a command of a build server that names it: `##vso[task.setvariable variable=dbPassword]x`.
#[inline(never)]
pub(super) fn set_variable(text: &[u8], key: &Key, at: usize) -> Option<Found> {
    if !has(near_before(text, key.start), b"##vso[task.setvariable") {
        return None;
    }
    let start = at + memchr(b']', &text[at..text.len().min(at + NEAR)])? + 1;
    real(text, start, line_end(text, start))
}

/// The value of `::set-output name=token::x`, whose name begins at `at`.
#[inline(never)]
pub(super) fn set_output(text: &[u8], key: &Key, at: usize) -> Option<Found> {
    let head = &text[..key.start];
    if ![&b"::set-output "[..], b"::set-env ", b"::save-state "].iter().any(|c| head.ends_with(c)) {
        return None;
    }
    let colons = at + memmem::find(&text[at..text.len().min(at + 80)], b"::")?;
    key::word_of(&text[at..colons]).filter(|w| matches!(w, Word::Plain | Word::Token))?;
    real(text, colons + 2, line_end(text, colons + 2))
}

/// The value behind a key of a secret in a flat list of names and values, which a quote at `close` ends: `["Host","h","X-Api-Key","x"]`.
#[inline(never)]
pub(super) fn flat_pair(text: &[u8], close: usize) -> Option<Found> {
    let start = key_start(text, close);
    let name = &text[start..close];
    let word = key::word_of(name)?;
    let header = match word {
        Word::Cookie | Word::Authorization => true,
        Word::Plain => name.contains(&b'-') && is(name[0], UPPER | LOWER),
        _ => false,
    };
    if !header || start == 0 || text[start - 1] != text[close] {
        return None;
    }
    let comma = skip_space(text, close + 1);
    let next = if text.get(comma) == Some(&b',') { skip_space(text, comma + 1) } else { return None };
    if text.get(next) != Some(&text[close]) {
        return None;
    }
    let found = string(text, next)?;
    let value = &text[found.start..found.end];
    let secret = match word {
        Word::Cookie => value.contains(&b'='),
        Word::Authorization => value.len() > 6,
        _ => none::looks_secret(value),
    };
    let start = after_scheme(text, found.start, found.end, word);
    (secret && !none::no_secret(word, value)).then(|| Found::plain(start, found.end))
}
