//! Which keys hold a secret.
//!
//! A key is read as words in lower case, whatever is between them (`SECRET_KEY_BASE`, `secretKeyBase`, `secret key base`);
//! digits do not count. It holds a secret where one of the words says so (`password`, `token`, …) or two together do
//! (`api key`, `verification code`), with whatever before and behind, unless the last word says that it is about the
//! secret and not the secret (`token_type`, `password_length`, `secretName`).

use crate::transforms::redact::ascii::{DIGIT, LOWER, UPPER, is};
use memchr::memmem;

/// Longer keys are looked at by their last bytes only.
pub(super) const MAX_KEY: usize = 80;

/// What a key says of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transforms::redact) enum Word {
    Plain,
    /// `pass`: too common a word to count before a colon, unless quoted.
    Pass,
    /// `pwd` alone: may be a folder.
    Pwd,
    /// `token`: may be one of a grammar.
    Token,
    /// `secret_id`: a secret where it is a UUID, else the name of one.
    Uuid,
    /// `auth`, `jwt`, …: a state as often as a secret.
    Weak,
    /// `sig`, `signature`: a secret where it is long.
    Signature,
    /// `pin`: a secret where it is four to eight digits.
    Pin,
    /// `routing_key`, …: a secret where it looks random.
    Random,
    /// `secrets`: none where it is a small number.
    Plural,
    /// Several words without quotes.
    Phrase,
    /// A header: a scheme and what belongs to it, up to the end of the header.
    Authorization,
    /// A header: pairs up to its end.
    Cookie,
}

/// Words behind which a `key` is a secret; alone it is none (`cache key: x`).
const KEYS: &[&[u8]] = &[
    b"api",
    b"access",
    b"secret",
    b"sec",
    b"private",
    b"auth",
    b"encryption",
    b"decryption",
    b"signing",
    b"master",
    b"account",
    b"storage",
    b"shared",
    b"session",
    b"app",
    b"application",
    b"consumer",
    b"subscription",
    b"functions",
    b"license",
    b"licence",
    b"activation",
    b"deploy",
    b"admin",
    b"hmac",
    b"aes",
    b"rsa",
    b"crypto",
    b"ssh",
    b"gpg",
    b"pgp",
    b"wpa",
    b"jwt",
    b"webhook",
    b"stripe",
    b"cookie",
    b"security",
    b"authorization",
    b"oauth",
    b"pre_shared",
    b"preshared",
    b"radio",
    b"unseal",
    b"recovery",
    b"validation",
];

/// Words behind which a `key` is a secret where it looks random.
const RANDOM_KEYS: &[&[u8]] = &[b"routing", b"write", b"server", b"integration", b"ingest", b"ingestion", b"service"];

/// Words behind which a `code` is a secret.
const CODES: &[&[u8]] = &[
    b"mfa",
    b"fa",
    b"otp",
    b"totp",
    b"verification",
    b"security",
    b"auth",
    b"authorization",
    b"authentication",
    b"sms",
    b"confirmation",
    b"access",
    b"recovery",
    b"backup",
    b"pin",
    b"time",
    b"activation",
    b"login",
    b"pass",
];

/// Last words of keys that are about a secret.
const ABOUT: &[&[u8]] = &[
    b"length",
    b"len",
    b"size",
    b"count",
    b"counts",
    b"total",
    b"num",
    b"type",
    b"types",
    b"kind",
    b"name",
    b"names",
    b"id",
    b"ids",
    b"url",
    b"urls",
    b"uri",
    b"endpoint",
    b"file",
    b"files",
    b"filename",
    b"path",
    b"paths",
    b"dir",
    b"policy",
    b"policies",
    b"field",
    b"fields",
    b"column",
    b"expires",
    b"expiry",
    b"expiration",
    b"exp",
    b"expired",
    b"expire",
    b"ttl",
    b"age",
    b"lifetime",
    b"validity",
    b"at",
    b"on",
    b"in",
    b"date",
    b"time",
    b"timestamp",
    b"created",
    b"updated",
    b"changed",
    b"rotated",
    b"rotation",
    b"enabled",
    b"disabled",
    b"required",
    b"valid",
    b"invalid",
    b"validation",
    b"validator",
    b"status",
    b"state",
    b"strength",
    b"attempts",
    b"attempt",
    b"retries",
    b"failures",
    b"failed",
    b"failure",
    b"errors",
    b"error",
    b"version",
    b"format",
    b"algorithm",
    b"alg",
    b"algo",
    b"method",
    b"methods",
    b"mode",
    b"scheme",
    b"provider",
    b"manager",
    b"store",
    b"ref",
    b"refs",
    b"reference",
    b"arn",
    b"usage",
    b"used",
    b"limit",
    b"limits",
    b"budget",
    b"bucket",
    b"rate",
    b"price",
    b"cost",
    b"index",
    b"idx",
    b"position",
    b"pos",
    b"offset",
    b"prefix",
    b"suffix",
    b"header",
    b"param",
    b"parameter",
    b"issuer",
    b"audience",
    b"scope",
    b"scopes",
    b"description",
    b"label",
    b"title",
    b"message",
    b"prompt",
    b"question",
    b"min",
    b"max",
    b"complexity",
    b"history",
    b"visible",
    b"hidden",
    b"show",
    b"masked",
    b"set",
    b"present",
    b"exists",
    b"missing",
    b"match",
    b"matches",
    b"matched",
    b"page",
    b"form",
    b"link",
    b"icon",
    b"placeholder",
    b"generator",
    b"source",
    b"owner",
    b"user",
    b"username",
    b"email",
    b"host",
    b"port",
    b"region",
    b"group",
    b"engine",
    b"mount",
    b"lease",
    b"duration",
    b"interval",
    b"timeout",
    b"cache",
    b"bits",
    b"entropy",
    b"score",
    b"sent",
    b"requested",
    b"issued",
    b"generated",
    b"verified",
    b"revoked",
    b"updates",
    b"ok",
    b"input",
    b"rules",
    b"rule",
    b"class",
    b"handler",
    b"service",
    b"factory",
    b"encoder",
    b"cookie_name",
    b"key_name",
    b"fingerprint",
    b"thumbprint",
    b"serial",
    b"namespace",
    b"keyref",
    b"per",
    b"events",
    b"reset",
    b"resets",
    b"change",
    b"changes",
    b"less",
    b"tries",
    b"locked",
    b"lockout",
    b"consumed",
    b"remaining",
    b"left",
    b"granted",
    b"details",
    b"volume",
    b"mounts",
    b"volumes",
    b"ms",
    b"seconds",
    b"minutes",
    b"hours",
    b"days",
    b"map",
    b"list",
    b"op",
    b"operation",
    b"supported",
    b"mgmt",
    b"flags",
    b"helper",
    b"exception",
    b"refresh",
    b"encryption",
];

/// First words of keys that are about a secret.
const NOT: &[&[u8]] = &[
    b"has",
    b"is",
    b"no",
    b"num",
    b"max",
    b"min",
    b"total",
    b"count",
    b"needs",
    b"require",
    b"requires",
    b"show",
    b"allow",
    b"enable",
    b"disable",
    b"forgot",
    b"with",
    b"without",
    b"invalid",
    b"missing",
    b"unexpected",
    b"should",
    b"public",
    b"used",
    b"expected",
];

/// Words before `token` that make it none: of pages, grammars and models.
const TOKENS_OF_OTHERS: &[&[u8]] = &[
    b"page",
    b"next",
    b"continuation",
    b"continue",
    b"cancel",
    b"cancellation",
    b"sync",
    b"cursor",
    b"stop",
    b"start",
    b"end",
    b"eos",
    b"bos",
    b"pad",
    b"unk",
    b"special",
    b"unexpected",
    b"first",
    b"last",
    b"fencing",
    b"per",
    b"illegal",
    b"bad",
    b"current",
    b"parser",
    b"lexer",
    b"syntax",
    b"resume",
];

/// Words that end with `pass` and are none.
const NO_PASS: &[&[u8]] = &[
    b"compass",
    b"bypass",
    b"trespass",
    b"surpass",
    b"overpass",
    b"underpass",
    b"encompass",
    b"lowpass",
    b"highpass",
    b"bandpass",
];

/// Words before `pass` that make it none.
const PASSES: &[&[u8]] = &[
    b"first",
    b"second",
    b"third",
    b"render",
    b"two",
    b"one",
    b"by",
    b"boarding",
    b"low",
    b"high",
    b"band",
    b"multi",
    b"single",
    b"all",
    b"tests",
    b"did",
    b"proxy",
    b"final",
    b"next",
];

/// Words of a password in themselves, wherever in the key.
const STRONG: &[(u32, &[u8])] = &strong([
    b"password",
    b"passwd",
    b"passwort",
    b"kennwort",
    b"passphrase",
    b"passcode",
    b"passkey",
    b"wachtwoord",
    b"contrasena",
    b"contrase\xc3\xb1a",
    b"motdepasse",
    b"mot_de_passe",
    b"pass_word",
    b"pass_phrase",
    b"credential",
    b"samlresponse",
    b"saml_response",
    b"samlrequest",
    b"jsessionid",
    b"phpsessid",
    b"sessid",
    b"net_session_id",
    b"connect_sid",
    b"requirepass",
    b"masterauth",
    b"authpass",
    b"privpass",
    b"private_pem",
    b"losenord",
    b"l\xc3\xb6senord",
    b"adgangskode",
    "密码".as_bytes(),
    "密碼".as_bytes(),
    "口令".as_bytes(),
    "密钥".as_bytes(),
    "密鑰".as_bytes(),
    "令牌".as_bytes(),
    "パスワード".as_bytes(),
    "пароль".as_bytes(),
    "비밀번호".as_bytes(),
    "暗証番号".as_bytes(),
    "Пароль".as_bytes(),
    "المرور".as_bytes(),
    "khẩu".as_bytes(),
    "şifre".as_bytes(),
    "Şifre".as_bytes(),
    "验证码".as_bytes(),
    "驗證碼".as_bytes(),
    "認証コード".as_bytes(),
    "確認コード".as_bytes(),
    "인증번호".as_bytes(),
    "bestätigungscode".as_bytes(),
    "sicherheitscode".as_bytes(),
    "校验码".as_bytes(),
    "jelszó".as_bytes(),
    "รหัสผ่าน".as_bytes(),
    "κωδικός".as_bytes(),
    "Κωδικός".as_bytes(),
    "סיסמה".as_bytes(),
    "گذرواژه".as_bytes(),
    "пароля".as_bytes(),
    "lykilorð".as_bytes(),
    "slaptažodis".as_bytes(),
    b"jelszo",
    b"salasana",
    b"lozinka",
    b"kata_sandi",
    b"palavra_passe",
    b"client_key_data",
    b"encryption_customer_key",
    b"code_verifier",
    b"pin_block",
    "authtok".as_bytes(),
]);

const fn strong<const N: usize>(words: [&'static [u8]; N]) -> [(u32, &'static [u8]); N] {
    let mut all = [(0, &[] as &[u8]); N];
    let mut i = 0;
    while i < N {
        all[i] = (needs(words[i]), words[i]);
        i += 1;
    }
    all
}

/// Words that are a secret when they are one of the words of a key.
const WHOLE: &[&[u8]] = &[
    b"creds",
    b"cred",
    b"pw",
    b"bindpw",
    b"rootpw",
    b"adminpw",
    b"userpw",
    b"dbpw",
    b"olcrootpw",
    b"otp",
    b"totp",
    b"cvv",
    b"cvc",
    b"cvn",
    b"psk",
    b"senha",
    b"haslo",
    b"has\xc5\x82o",
    b"heslo",
    b"parola",
    b"sas",
];

/// A key as words in lower case with `_` between, kept on the stack.
struct Words {
    bytes: [u8; 2 * MAX_KEY],
    len: usize,
}

impl Words {
    fn of(key: &[u8]) -> Self {
        let key = &key[key.len().saturating_sub(MAX_KEY)..];
        let mut words = Self { bytes: [0; 2 * MAX_KEY], len: 0 };
        let mut at = 0;
        let mut before = 0u8;
        while at < key.len() {
            let mut b = key[at];
            let mut width = 1;
            if b == b'%'
                && let (Some(high), Some(low)) = (hex(key, at + 1), hex(key, at + 2))
            {
                b = high * 16 + low;
                width = 3;
            }
            let next = key.get(at + width).copied().unwrap_or(0);
            if is(b, UPPER) {
                // `dbPass`, and `APIKey`.
                if is(before, LOWER | DIGIT) || (is(before, UPPER) && is(next, LOWER)) {
                    words.gap();
                }
                words.push(b | 0x20);
            } else if is(b, LOWER) || b >= 0x80 {
                words.push(b);
            } else if !is(b, DIGIT) {
                words.gap();
            }
            before = b;
            at += width;
        }
        if words.len > 0 && words.bytes[words.len - 1] == b'_' {
            words.len -= 1;
        }
        words
    }

    fn push(&mut self, b: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = b;
            self.len += 1;
        }
    }

    fn gap(&mut self) {
        if self.len > 0 && self.bytes[self.len - 1] != b'_' {
            self.push(b'_');
        }
    }

    fn text(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Whether the two digits at `at`, behind a `%`, stand for a byte that keys have.
pub(super) fn encodes_letter(text: &[u8], at: usize) -> bool {
    match (hex(text, at), hex(text, at + 1)) {
        (Some(high), Some(low)) => {
            let b = high * 16 + low;
            b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.') || b >= 0x80
        }
        _ => false,
    }
}

fn hex(text: &[u8], at: usize) -> Option<u8> {
    text.get(at).and_then(|&b| char::from(b).to_digit(16)).map(|d| d as u8)
}

/// Whether a word says something about a secret: `rotation`, `bucket`.
pub(super) fn is_about(word: &[u8]) -> bool {
    one_of(ABOUT, word)
}

/// Whether a key of an object below the name of a secret says something about it: `alg`, `minLength`, `enabled`.
pub(super) fn describes(key: &[u8]) -> bool {
    let words = Words::of(key);
    let text = words.text();
    let last = text.rsplit(|&b| b == b'_').next().unwrap_or(text);
    last != b"user" && last != b"message" && (one_of(ABOUT, last) || matches!(last, b"typ" | b"iss" | b"aud"))
}

/// Whether a word is the name of a secret, and no more than that.
pub(super) fn is_name(word: &[u8]) -> bool {
    word.len() > 5 && matches!(word_of(word), Some(Word::Plain | Word::Token | Word::Random))
}

fn one_of(list: &[&[u8]], word: &[u8]) -> bool {
    list.contains(&word)
}

/// Bits for bytes: letters of both cases by their place in the alphabet; digits and most signs have none.
static LETTERS: [u32; 256] = {
    let mut t = [0; 256];
    let mut i = 0;
    while i < 256 {
        t[i] = letter(i as u8);
        i += 1;
    }
    t
};

const fn letter(b: u8) -> u32 {
    match b {
        b'a'..=b'z' | b'A'..=b'Z' => 1 << (b & 31),
        b'%' => ENCODED,
        0x80.. => NOT_ASCII,
        _ => 0,
    }
}

/// In [`LETTERS`]: the byte is of no character of ASCII.
const NOT_ASCII: u32 = 1 << 31;
/// In [`LETTERS`]: `%`.
const ENCODED: u32 = 1 << 30;

/// Letters that a text has, as bits.
#[inline]
fn letters(text: &[u8]) -> u32 {
    text.iter().fold(0, |all, &b| all | LETTERS[usize::from(b)])
}

const fn needs(word: &[u8]) -> u32 {
    let mut all = 0;
    let mut i = 0;
    while i < word.len() {
        all |= letter(word[i]);
        i += 1;
    }
    all
}

/// Parts of which a key of a secret has one at least, in lower case and without signs; or it is not ASCII, or encoded. By
/// their first letter.
const PARTS: [&[u8]; 40] = [
    b"auth",
    b"assertion",
    b"adgangskode",
    b"bearer",
    b"cred",
    b"cookie",
    b"cv",
    b"code",
    b"contrase",
    b"community",
    b"heslo",
    b"haslo",
    b"jwt",
    b"jelszo",
    b"key",
    b"kennwort",
    b"katasandi",
    b"losenord",
    b"lozinka",
    b"mnemonic",
    b"otp",
    b"pas",
    b"pw",
    b"pin",
    b"psk",
    b"parola",
    b"privatepem",
    b"palavra",
    b"recoveryphrase",
    b"secret",
    b"sig",
    b"sid",
    b"samlre",
    b"sessionid",
    b"seedphrase",
    b"senha",
    b"sas",
    b"salasana",
    b"token",
    b"wachtwoord",
];

/// By a letter (its place in the alphabet): where the parts that begin with it begin and end in [`PARTS`].
const PLACES: [(usize, usize); 27] = {
    let mut places = [(0, 0); 27];
    let mut i = 0;
    while i < PARTS.len() {
        let letter = (PARTS[i][0] & 31) as usize;
        assert!(i == 0 || PARTS[i - 1][0] <= PARTS[i][0], "by their first letter");
        places[letter] = (if places[letter].1 == 0 { i } else { places[letter].0 }, i + 1);
        i += 1;
    }
    places
};

/// By a letter (its place in the alphabet): one bit for each letter behind it with which a part begins.
const BEGINNINGS: [u32; 27] = {
    let mut beginnings = [0; 27];
    let mut i = 0;
    while i < PARTS.len() {
        beginnings[(PARTS[i][0] & 31) as usize] |= letter(PARTS[i][1]);
        i += 1;
    }
    beginnings
};

/// Whether the text may be a key of a secret at all: most are not, and this is cheap.
#[inline]
pub(super) fn may_be(key: &[u8]) -> bool {
    let mut before = 0;
    for &b in key {
        let this = LETTERS[usize::from(b)];
        if this == 0 {
            continue;
        }
        if this >= ENCODED {
            return true;
        }
        if BEGINNINGS[before] & this != 0 {
            return has_part(key);
        }
        before = usize::from(b & 31).min(26);
    }
    false
}

/// Whether one of the parts stands in the key, or what is not ASCII or encoded.
fn has_part(key: &[u8]) -> bool {
    let key = &key[key.len().saturating_sub(MAX_KEY)..];
    let mut bytes = [0; MAX_KEY];
    let mut len = 0;
    for &b in key {
        if LETTERS[usize::from(b)] >= ENCODED {
            return true;
        }
        bytes[len] = b | 0x20;
        len += usize::from(is(b, LOWER | UPPER));
    }
    let letters = &bytes[..len];
    let begins = |w: &[u8]| BEGINNINGS[usize::from(w[0] & 31)] & letter(w[1]) != 0;
    let mut places = letters.windows(2).enumerate().filter(|(_, w)| begins(w));
    places.any(|(i, w)| {
        let (first, last) = PLACES[usize::from(w[0] & 31).min(26)];
        PARTS[first..last].iter().any(|part| part[1] == w[1] && letters[i..].starts_with(part))
    })
}

/// What the key says of its value; `None` where it holds no secret.
pub(super) fn word_of(key: &[u8]) -> Option<Word> {
    // The commonest.
    match key {
        b"password" | b"Password" | b"secret" => return Some(Word::Plain),
        b"token" => return Some(Word::Token),
        _ if !may_be(key) => return None,
        _ => {}
    }
    let words = Words::of(key);
    let text = words.text();
    let last = text.rsplit(|&b| b == b'_').next()?;
    let first = text.split(|&b| b == b'_').next()?;
    let several = last.len() < text.len();
    match text {
        b"secret_id" => return Some(Word::Uuid),
        b"secrets" | b"credentials" | b"passwords" => return Some(Word::Plural),
        _ => {}
    }
    if several && (one_of(ABOUT, last) || one_of(NOT, first)) {
        return None;
    }
    headers(text, last).or_else(|| passwords(text)).or_else(|| secrets(text)).or_else(|| by_word(text, last))
}

/// Where `part` is at or after `from`, if the text has its letters at all.
#[inline]
fn find_with(text: &[u8], from: usize, letters: u32, part: &[u8]) -> Option<usize> {
    let all = needs(part);
    if letters & all != all {
        return None;
    }
    memmem::find(&text[from..], part).map(|p| from + p)
}

fn has(text: &[u8], part: &[u8]) -> bool {
    memmem::find(text, part).is_some()
}

fn headers(text: &[u8], last: &[u8]) -> Option<Word> {
    if last == b"authorization" || text == b"authorization_header" {
        return Some(Word::Authorization);
    }
    matches!(last, b"cookie" | b"cookies" | b"setcookie").then_some(Word::Cookie)
}

fn passwords(text: &[u8]) -> Option<Word> {
    let letters = letters(text);
    if STRONG.iter().any(|(needs, s)| letters & needs == *needs && has(text, s)) && !has(text, b"passwordless") {
        return Some(Word::Plain);
    }
    if (has(text, b"mnemonic") && text.len() < 20) || has(text, b"seed_phrase") || has(text, b"recovery_phrase") {
        return Some(Word::Phrase);
    }
    None
}

fn secrets(text: &[u8]) -> Option<Word> {
    let letters = letters(text);
    let mut from = 0;
    while let Some(at) = find_with(text, from, letters, b"secret") {
        from = at + 6;
        let rest = &text[at + 6..];
        if ![&b"ar"[..], b"ly", b"smanager"].iter().any(|other| rest.starts_with(other)) {
            return Some(Word::Plain);
        }
    }
    let mut from = 0;
    while let Some(at) = find_with(text, from, letters, b"token") {
        from = at + 5;
        let rest = &text[at + 5..];
        let plural = rest.first() == Some(&b's') && !rest.get(1).is_some_and(|&b| is(b, LOWER));
        let before = text[..at].strip_suffix(b"_").unwrap_or(&text[..at]);
        let other = before.rsplit(|&b| b == b'_').next().is_some_and(|w| one_of(TOKENS_OF_OTHERS, w));
        if !plural && rest.first() != Some(&b'i') && !other {
            return Some(if text == b"token" { Word::Token } else { Word::Plain });
        }
    }
    None
}

fn by_word(text: &[u8], last: &[u8]) -> Option<Word> {
    let mut before: &[u8] = b"";
    for word in text.split(|&b| b == b'_') {
        // `sas` alone is a kind of disk as well.
        if (one_of(WHOLE, word) && text != b"sas") || is_key(word, before) || is_pass(word, before) {
            let alone = text == b"pass";
            return Some(if alone { Word::Pass } else { Word::Plain });
        }
        if word == b"key" && one_of(RANDOM_KEYS, before) {
            return Some(Word::Random);
        }
        if word == b"content" && before == b"key" {
            return Some(Word::Plain);
        }
        if word.ends_with(b"pwd") {
            return Some(if matches!(text, b"pwd" | b"oldpwd" | b"old_pwd") { Word::Pwd } else { Word::Plain });
        }
        if matches!(word, b"code" | b"codes") && one_of(CODES, before) {
            return Some(Word::Plain);
        }
        if word == b"community" && matches!(before, b"snmp" | b"ro" | b"rw" | b"server")
            || matches!(word, b"rocommunity" | b"rwcommunity")
        {
            return Some(Word::Plain);
        }
        before = word;
    }
    let first = &text[..text.len() - last.len()];
    match last {
        b"auth" => matches!(
            first,
            b"" | b"http_"
                | b"basic_"
                | b"proxy_"
                | b"x_"
                | b"redis_"
                | b"registry_"
                | b"master_"
                | b"npm_"
                | b"docker_"
                | b"user_"
        )
        .then_some(Word::Weak),
        b"bearer" | b"jwt" => Some(Word::Weak),
        b"assertion" => matches!(first, b"" | b"client_" | b"saml_").then_some(Word::Signature),
        b"sig" | b"signature" => Some(Word::Signature),
        b"pin" => Some(Word::Pin),
        _ => None,
    }
}

fn is_key(word: &[u8], before: &[u8]) -> bool {
    if word == b"key" {
        return one_of(KEYS, before);
    }
    if word == b"keys" {
        return matches!(before, b"api" | b"access" | b"secret" | b"private");
    }
    let stem = word.strip_suffix(b"key").or_else(|| word.strip_suffix(b"keys")).unwrap_or(b"");
    !stem.is_empty() && one_of(KEYS, stem)
}

fn is_pass(word: &[u8], before: &[u8]) -> bool {
    if word == b"pass" {
        return !one_of(PASSES, before);
    }
    word.len() > 4 && word.ends_with(b"pass") && !one_of(NO_PASS, word)
}
