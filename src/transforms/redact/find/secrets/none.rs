//! Values that are no secret: they stand for one, or say that there is none.

use super::Word;
use crate::transforms::redact::ascii::{ALNUM, DIGIT, LOWER, UPPER, is, run};

/// Words of which the value decides whether it is a secret, in quotes or not.
pub(super) fn doubtful(word: Word) -> bool {
    matches!(word, Word::Weak | Word::Signature | Word::Pin | Word::Token | Word::Pwd)
}

/// Whether a value stands for one that is not there: stars, `[REDACTED]`, `${NAME}`, `{{ name }}`, `%s`.
pub(super) fn is_placeholder(value: &[u8]) -> bool {
    const GONE: [&[u8]; 10] = [
        b"sensitive",
        b"redacted",
        b"masked",
        b"filtered",
        b"hidden",
        b"removed",
        b"sanitized",
        b"scrubbed",
        b"protected",
        b"omitted",
    ];
    let (Some(&first), Some(&last)) = (value.first(), value.last()) else { return true };
    // Most values begin and end with a letter or digit, and have a digit.
    if is(first, ALNUM) && is(last, ALNUM) && first != last {
        let word = matches!(first | 0x20, b'r' | b'm' | b'f' | b'h' | b's' | b'p' | b'o' | b'v');
        if !word || value.len() > 40 || value.iter().any(|&b| is(b, DIGIT)) {
            return false;
        }
    }
    if value == b"VALUE_SPECIFIED_IN_NO_LOG_PARAMETER" || value.ends_with(b"()") || code_of_a_value(value) {
        return true;
    }
    let same = value.iter().all(|&b| b == first) && matches!(first, b'*' | b'.' | b'-' | b'x' | b'X' | b'?' | b'_');
    if same && (value.len() >= 3 || first == b'*') {
        return true;
    }
    if value.iter().all(|&b| matches!(b, 0xe2 | 0x80 | 0xa2)) {
        return true;
    }
    let inner = match (first, last) {
        (b'[', b']') | (b'<', b'>') | (b'(', b')') => &value[1..value.len() - 1],
        _ => value,
    };
    let words = inner.iter().all(|&b| is(b, ALNUM) || matches!(b, b'_' | b'-' | b' ' | b':' | b'*'));
    if words
        && inner.len() <= 40
        && GONE.iter().any(|g| inner.len() >= g.len() && inner[..g.len()].eq_ignore_ascii_case(g))
    {
        let digits = inner.iter().any(|&b| is(b, DIGIT));
        return !digits && (inner.len() < value.len() || GONE.iter().any(|g| inner.eq_ignore_ascii_case(g)));
    }
    let name = |b: &u8| is(*b, ALNUM) || matches!(b, b'_' | b'-' | b'.' | b' ' | b':' | b'/' | b'?');
    let within = |open: &[u8], close: &[u8]| {
        value.len() >= open.len() + close.len()
            && value.starts_with(open)
            && value.ends_with(close)
            && value[open.len()..value.len() - close.len()].iter().all(name)
    };
    within(b"${", b"}")
        || within(b"{{", b"}}")
        || within(b"#{", b"}")
        || within(b"%{", b"}")
        || within(b"%(", b")s")
        || within(b"$((", b"))")
        || within(b"${{", b"}}")
        || matches!(
            value,
            b"%s" | b"%v" | b"%d" | b"%q" | b"%+v" | b"{}" | b"?" | b"$1" | b"<nil>" | b"()" | b"[]" | b"nil" | b"%@"
        )
        || (first == b'$' && value.len() > 3 && value[1..].iter().all(|&b| is(b, UPPER) || b == b'_'))
}

/// Whether a value is where a program takes the secret from, or that one of its own words is: `$(cat f)`, `os.environ["X"]`,
/// `:name`, `<TOKEN>`, `Secret([REDACTED …])`.
fn code_of_a_value(value: &[u8]) -> bool {
    let capitals = |name: &[u8]| !name.is_empty() && name.iter().all(|&b| is(b, UPPER) || matches!(b, b'_' | b'-'));
    let small = |name: &[u8]| name.len() > 2 && name.iter().all(|&b| is(b, LOWER) || b == b'_');
    value.starts_with(b"$(") && value.ends_with(b")")
        || value.starts_with(b"os.environ")
        || value.starts_with(b"process.env.")
        || value.strip_prefix(b":").is_some_and(small)
        || value.strip_prefix(b"<").and_then(|v| v.strip_suffix(b">")).is_some_and(capitals)
        || value.len() < 100 && memchr::memmem::find(value, b"[REDACTED").is_some()
}

/// Words of states that stand where a secret might.
pub(super) const STATES: &[&[u8]] = &[
    b"null",
    b"nil",
    b"none",
    b"undefined",
    b"true",
    b"false",
    b"yes",
    b"no",
    b"eof",
    b"empty",
    b"missing",
    b"invalid",
    b"incorrect",
    b"wrong",
    b"expired",
    b"required",
    b"denied",
    b"failed",
    b"failure",
    b"granted",
    b"ok",
    b"success",
    b"succeeded",
    b"pending",
    b"unknown",
    b"changed",
    b"reset",
    b"rejected",
    b"accepted",
    b"refused",
    b"mismatch",
    b"not",
    b"is",
    b"must",
    b"should",
    b"for",
    b"was",
    b"has",
    b"cannot",
    b"can",
    b"too",
    b"and",
    b"or",
    b"updated",
    b"disabled",
    b"enabled",
    b"unset",
    b"set",
    b"absent",
    b"present",
    b"found",
    b"n/a",
    b"revoked",
    b"unauthorized",
    b"forbidden",
    b"error",
    b"the",
    b"an",
    b"please",
    b"no such",
    b"unexpected",
    b"expected",
    b"does",
    b"did",
    b"could",
    b"unable",
    b"from",
    b"optional",
    b"valid",
    b"malformed",
    b"authentication",
    b"<nil>",
    b"refreshed",
    b"renewed",
    b"rotated",
    b"created",
    b"deleted",
    b"validated",
    b"validation",
    b"generated",
    b"await",
    b"string",
    b"string;",
    b"string?",
    b"string!",
    b"string?)",
    b"str",
    b"&str",
    b"secretstr",
    b"option<string>",
];

/// By the lower five bits of their first byte: one bit for each length that one of [`STATES`] has.
static LENGTHS: [u16; 32] = {
    let mut lengths = [0; 32];
    let mut i = 0;
    while i < STATES.len() {
        lengths[(STATES[i][0] & 31) as usize] |= 1 << STATES[i].len();
        i += 1;
    }
    lengths
};

/// Whether a word is one of [`STATES`].
fn is_state(word: &[u8]) -> bool {
    let Some(&first) = word.first() else { return false };
    word.len() < 16
        && LENGTHS[usize::from(first & 31)] >> word.len() & 1 != 0
        && STATES.iter().any(|s| word.eq_ignore_ascii_case(s))
}

/// Ways to prove who one is, which stand behind `auth`.
pub(super) const WAYS: &[&[u8]] = &[
    b"basic",
    b"bearer",
    b"digest",
    b"ldap",
    b"pam",
    b"oauth",
    b"oauth2",
    b"oidc",
    b"saml",
    b"kerberos",
    b"gssapi",
    b"jwt",
    b"plain",
    b"login",
    b"md5",
    b"cram-md5",
    b"scram-sha-256",
    b"publickey",
    b"mtls",
    b"local",
    b"ntlm",
    b"negotiate",
    b"sso",
    b"mysql_native_password",
    b"trust",
    b"peer",
    b"cert",
    b"open",
    b"wpa2",
    b"wpa3",
    b"anonymous",
    b"passed",
    b"started",
    b"completed",
    b"done",
];

/// Whether the first word of a value says that there is no secret.
pub(super) fn no_secret(word: Word, value: &[u8]) -> bool {
    let first = value.split(|&b| b <= b' ').next().unwrap_or(value);
    let state = first.strip_suffix(b",").or_else(|| first.strip_suffix(b".")).unwrap_or(first);
    if is_state(state) {
        return true;
    }
    match word {
        Word::Token => {
            let name = value.iter().all(|&b| is(b, UPPER) || b == b'_');
            name || !value.iter().any(|&b| is(b, ALNUM) || b >= 0x80)
        }
        Word::Pwd => is_path(value),
        Word::Weak => {
            WAYS.iter().any(|w| first.eq_ignore_ascii_case(w))
                || (value.len() <= 3 && value.iter().all(|&b| is(b, DIGIT)))
        }
        Word::Signature => {
            value.len() < 16 || value.iter().any(|&b| matches!(b, b' ' | b'(')) || !value.iter().any(|&b| is(b, DIGIT))
        }
        Word::Pin => !((4..=8).contains(&value.len()) && value.iter().all(|&b| is(b, DIGIT))),
        _ => false,
    }
}

/// Whether a value reads as a folder: `/home/bob`, `~/x`, `C:\x`.
pub(super) fn is_path(value: &[u8]) -> bool {
    let part = |b: &u8| is(*b, ALNUM) || matches!(b, b'/' | b'.' | b'_' | b'-' | b'\\' | b':' | b'~' | b' ');
    let windows =
        value.len() >= 3 && is(value[0], UPPER | LOWER) && value[1] == b':' && matches!(value[2], b'\\' | b'/');
    (matches!(value.first(), Some(b'/' | b'~' | b'.')) || windows) && value.iter().all(part)
}

/// Whether a word looks like a secret by itself: letters and digits, or signs among them.
pub(super) fn looks_secret(value: &[u8]) -> bool {
    let letters = value.iter().any(|&b| is(b, UPPER | LOWER));
    let digits = value.iter().any(|&b| is(b, DIGIT));
    let signs = value.iter().any(|b| matches!(b, b'!' | b'@' | b'#' | b'$' | b'%' | b'^' | b'&' | b'*' | b'~'));
    value.len() >= 6 && letters && (digits || signs) && run(value, 0, ALNUM) > 0
}
