//! Values that are no secret: they stand for one, or say that there is none.

use super::Word;
use crate::transforms::redact::ascii::{ALNUM, DIGIT, HEX, LOWER, UPPER, is, run};

/// Words of which the value decides whether it is a secret, in quotes or not.
pub(super) fn doubtful(word: Word) -> bool {
    matches!(
        word,
        Word::Weak | Word::Signature | Word::Pin | Word::Token | Word::Pwd | Word::Uuid | Word::Random | Word::Plural
    )
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
    if value == b"VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
        || value.ends_with(b"()")
        || code_of_a_value(value)
        || reference(value)
    {
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
    // What stands behind `:-` is the value where there is no other.
    let fallback = memchr::memmem::find(value, b":-").is_some_and(|p| value.len() > p + 3);
    let name =
        |b: &u8| !fallback && (is(*b, ALNUM) || matches!(b, b'_' | b'-' | b'.' | b' ' | b':' | b'/' | b'?' | b'|'));
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
    let lower = |name: &[u8]| {
        name.len() > 2
            && name.iter().all(|&b| is(b, LOWER) || matches!(b, b'_' | b'-' | b' '))
            && (name.starts_with(b"your") || super::key::word_of(name).is_some())
    };
    value.strip_prefix(b"<").and_then(|v| v.strip_suffix(b">")).is_some_and(lower)
        || value.starts_with(b"{{") && value.ends_with(b"}}") && memchr::memmem::find(value, b"default").is_none()
        || value.strip_prefix(b"YOUR_").is_some_and(capitals)
        || value.strip_prefix(b"$env:").is_some_and(capitals)
        || value.starts_with(b"$(") && value.ends_with(b")")
        || value.starts_with(b"os.environ")
        || value.starts_with(b"process.env.")
        || value.strip_prefix(b":").is_some_and(small)
        || value.strip_prefix(b"<").and_then(|v| v.strip_suffix(b">")).is_some_and(capitals)
        || value.len() < 100 && memchr::memmem::find(value, b"[REDACTED").is_some()
}

/// Whether a value says where the secret is kept: `op://vault/item`, `((name))`, `%NAME%`, `@name@`, `<%= x %>`,
/// `@Microsoft.KeyVault(…)`, `{{resolve:…}}`.
fn reference(value: &[u8]) -> bool {
    let within = |open: &[u8], close: &[u8]| {
        let inner = value.strip_prefix(open).and_then(|v| v.strip_suffix(close));
        inner.filter(|i| !i.is_empty()).unwrap_or(b"-")
    };
    let name = |b: &u8| is(*b, ALNUM) || matches!(b, b'_' | b'-' | b'.' | b'/');
    let named = |inner: &[u8]| inner.len() > 1 && is(inner[0], UPPER | LOWER) && inner.iter().all(name);
    let capitals = |inner: &[u8]| inner.len() > 1 && inner.iter().all(|&b| is(b, UPPER | DIGIT) || b == b'_');
    const STORES: [&[u8]; 4] = [b"op://", b"vault://", b"@Microsoft.KeyVault(", b"{{resolve:"];
    match value.first() {
        Some(b'(') => named(within(b"((", b"))")) || value.starts_with(b"([^"),
        Some(b'%') => capitals(within(b"%", b"%")),
        Some(b'<') => value.starts_with(b"<%") && value.ends_with(b"%>"),
        Some(b'@') if named(within(b"@", b"@")) => true,
        Some(b'o' | b'v' | b'@' | b'{') => STORES.iter().any(|s| value.starts_with(s)),
        Some(b'[') => value.starts_with(b"[^") && value.contains(&b']'),
        _ => false,
    }
}

/// Whether an unquoted value is source code that takes the secret from elsewhere, or is a type: `r.FormValue("password")`,
/// `env::var("X")?`, `$_POST['password']`, `var.db_password`, `Column(String(60), nullable=False)`, `Option<String>`.
pub(super) fn is_code(value: &[u8], key: &[u8]) -> bool {
    let value = value.strip_suffix(b";").unwrap_or(value);
    let value = value.strip_suffix(b"?").unwrap_or(value);
    if value == key.rsplit(|&b| b == b'.').next().unwrap_or(key) {
        return true;
    }
    if let Some(open) = value.iter().position(|&b| b == b'<') {
        let part = |&b: &u8| is(b, UPPER | LOWER) || matches!(b, b'<' | b'>' | b',' | b':' | b'&' | b'[' | b']');
        return open > 2 && is(value[0], UPPER) && is_name(&value[..open]) && value[open..].iter().all(part);
    }
    match value.iter().position(|&b| matches!(b, b'(' | b'[')) {
        None => is_member(value),
        Some(open) => is_name(&value[..open]) && takes(&value[..open], &value[open + 1..]),
    }
}

/// Whether a text is a name in a program, perhaps of a member: `env::var`, `$_POST`, `r.FormValue`.
fn is_name(text: &[u8]) -> bool {
    let part = |&b: &u8| is(b, ALNUM) || matches!(b, b'_' | b'.' | b':' | b'$');
    text.first().is_some_and(|&b| !is(b, DIGIT)) && text.iter().all(part)
}

/// Whether a value is a member of what programs take values from: `var.db_password`, `this.token`.
fn is_member(value: &[u8]) -> bool {
    const OF: &[&[u8]] = &[
        b"var",
        b"data",
        b"local",
        b"module",
        b"self",
        b"this",
        b"props",
        b"req",
        b"request",
        b"config",
        b"params",
        b"process",
        b"excluded",
        b"new",
        b"old",
        b"user",
        b"source",
        b"state",
        b"token",
        b"env",
    ];
    let mut parts = value.split(|&b| b == b'.');
    let first = parts.next().unwrap_or(value);
    let last = parts.next_back().unwrap_or_default();
    let digits = value.iter().any(|&b| is(b, DIGIT));
    is_name(value) && !digits && !last.is_empty() && OF.iter().any(|o| first.eq_ignore_ascii_case(o))
}

/// Whether a call or an index, behind its bracket, takes the secret from elsewhere, and has none in it.
fn takes(callee: &[u8], arguments: &[u8]) -> bool {
    let last = callee.rsplit(|&b| b == b'.').next().unwrap_or(callee);
    let method = last.len() < callee.len() && last.first().is_some_and(|&b| is(b, LOWER));
    let plain = |&b: &u8| is(b, UPPER | LOWER) || matches!(b, b'_' | b'.' | b',' | b' ' | b')');
    let symbol = arguments.strip_prefix(b":").is_some_and(|a| a.ends_with(b"]"));
    // `jwt.decode(raw, algorithms=["HS256"])`.
    let quote = arguments.iter().position(|&b| matches!(b, b'"' | b'\''));
    let ways = quote.is_some_and(|q| {
        arguments[..q].ends_with(b"algorithms=[") && arguments[..q - 1].iter().all(|b| plain(b) || *b == b'=')
    });
    if method && (ways || arguments.iter().all(plain)) || symbol {
        return true;
    }
    let mut parts = arguments.splitn(3, |&b| matches!(b, b'"' | b'\''));
    match (parts.next(), parts.next()) {
        // One string, which is the name of what is taken.
        (Some(b""), Some(name)) => {
            let named = super::key::word_of(name).is_some() || name.iter().all(|&b| is(b, UPPER) || b == b'_');
            let digits = name.iter().any(|&b| is(b, DIGIT));
            let wrapper = is(callee[0], UPPER) && callee.iter().all(|&b| is(b, UPPER | LOWER));
            named && !digits && !wrapper
        }
        // Calls with arguments that have names, or with calls in them: no strings but labels, no words but names.
        (Some(before), label) => {
            let inner = |&b: &u8| is(b, ALNUM) || matches!(b, b'_' | b'.' | b'=' | b',' | b' ' | b'(' | b')');
            let labelled = label.is_none() || before.ends_with(b"label=") || before.ends_with(b"help_text=");
            let nested = before.iter().any(|&b| matches!(b, b'=' | b'('));
            nested && labelled && before.iter().all(inner) && only_names(before)
        }
        _ => false,
    }
}

/// Whether the arguments of a call have no words but names, types, numbers and `true`: each word in lower case stands before
/// `=`, `.` or a bracket, or behind a dot; none looks like a secret or says that the one behind it is.
fn only_names(arguments: &[u8]) -> bool {
    let mut at = 0;
    while at < arguments.len() {
        let end = run(arguments, at, ALNUM);
        let end = end + arguments[end..].iter().take_while(|&&b| is(b, ALNUM) || b == b'_').count();
        if end == at {
            at += 1;
            continue;
        }
        let word = &arguments[at..end];
        let before = arguments[..at].last();
        let named = matches!(arguments.get(end), Some(b'=' | b'.' | b'(')) || before == Some(&b'.');
        let number = word.iter().all(|&b| is(b, DIGIT)) && word.len() < 4;
        let constant = is(word[0], UPPER) || matches!(word, b"true" | b"false" | b"null" | b"nil");
        let says = arguments.get(end) == Some(&b'=')
            && (super::key::word_of(word).is_some() || super::PairKey::of(word) == Some(super::PairKey::Value));
        if says || looks_secret(word) || !(named || number || constant) {
            return false;
        }
        at = end;
    }
    true
}

/// Whether a value, also in quotes, is the word for nothing of a language, or what browsers do with credentials.
pub(super) fn says_nothing(value: &[u8]) -> bool {
    matches!(
        value,
        b"null"
            | b"NULL"
            | b"None"
            | b"nil"
            | b"undefined"
            | b"include"
            | b"omit"
            | b"same-origin"
            | b"(known after apply)"
            | b"known after apply"
            | b"sensitive value"
            | b"required"
            | b"missing"
            | b"optional"
            | b"invalid"
            | b"incorrect"
            | b"unset"
            | b"not set"
            | b"none"
    )
}

/// Whether the value of a key that may be the name of a package is its version.
pub(super) fn version_of(word: Word, value: &[u8]) -> bool {
    let signed = matches!(value.first(), Some(b'^' | b'~'));
    (signed || matches!(word, Word::Weak | Word::Cookie))
        && (is_version(value) || value.trim_ascii_start().starts_with(b"version"))
}

/// Whether a value is the version of a package: `^0.7.2`, `~1.4`, `>=2.0`, `0.16`.
fn is_version(value: &[u8]) -> bool {
    let signs = value.iter().take_while(|&&b| matches!(b, b'^' | b'~' | b'>' | b'<' | b'=' | b'v')).count();
    let numbers = &value[signs..];
    let dots = numbers.iter().filter(|&&b| b == b'.').count();
    (1..=3).contains(&dots) && numbers.len() <= 12 && numbers.iter().all(|&b| is(b, DIGIT) || b == b'.')
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
    b"synced",
    b"unchanged",
    b"files",
    b"compat",
    b"removed",
    b"ready",
    b"active",
    b"inactive",
    b"loaded",
    b"sent",
    b"negotiated",
    b"started",
    b"listening",
    b"using",
    b"verified",
    b"issued",
    b"requested",
    b"received",
    b"cleared",
    b"~",
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
    if word == Word::Weak {
        let number = state.strip_suffix(b"ms").or_else(|| state.strip_suffix(b"s")).unwrap_or(b"");
        if !number.is_empty() && number.iter().all(|&b| is(b, DIGIT) || b == b'.') {
            return true;
        }
    }
    match word {
        Word::Uuid => !is_uuid(value),
        Word::Cookie => first.len() < value.len() && !value.contains(&b'='),
        Word::Token => {
            let name = value.iter().all(|&b| is(b, UPPER) || b == b'_');
            name || value.starts_with(b" ") || !value.iter().any(|&b| is(b, ALNUM) || b >= 0x80)
        }
        Word::Pwd => is_path(value),
        Word::Random => !is_random(value),
        Word::Plural => value.len() <= 4 && value.iter().all(|&b| is(b, DIGIT)),
        Word::Weak => {
            WAYS.iter().any(|w| first.eq_ignore_ascii_case(w))
                || first.strip_suffix(b":").is_some_and(|w| w.iter().all(|&b| is(b, UPPER | LOWER)))
                || (value.len() <= 3 && value.iter().all(|&b| is(b, DIGIT)))
        }
        Word::Signature => {
            value.len() < 16 || value.iter().any(|&b| matches!(b, b' ' | b'(')) || !value.iter().any(|&b| is(b, DIGIT))
        }
        Word::Pin => !((4..=8).contains(&value.len()) && value.iter().all(|&b| is(b, DIGIT))),
        _ => false,
    }
}

/// Whether a value has no words in it: sixteen bytes and more of hexadecimal digits, or of letters of both cases with digits.
#[inline(never)]
fn is_random(value: &[u8]) -> bool {
    let part = |&b: &u8| is(b, ALNUM) || matches!(b, b'-' | b'_' | b'+' | b'/' | b'=');
    let any = |class: u16| value.iter().any(|&b| is(b, class));
    let digits = value.iter().filter(|&&b| is(b, DIGIT)).count();
    let hex = digits >= 4 && value.iter().all(|&b| is(b, HEX));
    value.len() >= 16 && value.iter().all(part) && (hex || (digits >= 2 && any(UPPER) && any(LOWER)))
}

fn is_uuid(value: &[u8]) -> bool {
    let part = |(i, &b): (usize, &u8)| if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { is(b, HEX) };
    value.len() == 36 && value.iter().enumerate().all(part)
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
