//! The engine: what is found in a text, and what the text becomes.

use crate::transforms::redact::*;
use std::sync::Arc;

/// The text with the hits of these kinds masked.
pub(super) fn mask(kinds: &[DetectKind], text: &str) -> String {
    run(Rules::new(kinds, &[], Action::Mask).unwrap(), text)
}

pub(super) fn run(rules: Rules, text: &str) -> String {
    let mut scanner = Scanner::new(Arc::new(rules));
    let (mut hits, mut out) = (Vec::new(), Vec::new());
    scanner.scan(text.as_bytes(), &mut hits);
    scanner.rewrite(text.as_bytes(), &hits, &mut out);
    String::from_utf8(out).unwrap()
}

fn pattern(name: &str, regex: &str, replace: Option<&str>) -> PatternSpec {
    PatternSpec { name: name.into(), regex: regex.into(), replace: replace.map(Into::into) }
}

use DetectKind::*;

#[test]
fn lines_of_the_bench_corpus() {
    let kinds = [Secrets, CreditCard, Email];
    for (text, expected) in [
        (
            "login attempt for user123@example.com password=hunter123 accepted",
            "login attempt for *** password=*** accepted",
        ),
        (
            "payment authorised with card 4111 1111 1111 1111 for order 9",
            "payment authorised with card *** for order 9",
        ),
        (
            "upstream call failed: token: eyJhunter99 rejected after 5ms, will retry",
            "upstream call failed: token: *** rejected after 5ms, will retry",
        ),
        (
            "cache miss for key product:1:stock, loading from database took 10ms",
            "cache miss for key product:1:stock, loading from database took 10ms",
        ),
        (
            "inventory reservation 12345 expired; released 1500 units \u{2014} rebalancing",
            "inventory reservation 12345 expired; released 1500 units \u{2014} rebalancing",
        ),
        (
            "HTTP GET /api/v1/products/12345 completed with 200 in 1999ms",
            "HTTP GET /api/v1/products/12345 completed with 200 in 1999ms",
        ),
        ("session opened from 203.0.113.255 by user 99999", "session opened from 203.0.113.255 by user 99999"),
    ] {
        assert_eq!(mask(&kinds, text), expected);
    }
}

#[test]
fn values_of_secrets_are_masked_and_nothing_else() {
    for (text, expected) in [
        ("password=x1", "password=***"),
        ("Password : x1 rest", "Password : *** rest"),
        ("db_password := x1", "db_password := ***"),
        ("PASSWD=x1;next=2", "PASSWD=***;next=2"),
        ("pwd='a b' c", "pwd='***' c"),
        (r#"password="a \" b" c"#, r#"password="***" c"#),
        ("apiKey => 'x1'", "apiKey => '***'"),
        ("api key: x1", "api key: ***"),
        ("api_key=x1 api-key=x2 apikey=x3 API.KEY=x4", "api_key=*** api-key=*** apikey=*** API.KEY=***"),
        ("x-api-key: x1", "x-api-key: ***"),
        ("client_secret=x1&grant=y", "client_secret=***&grant=y"),
        ("GET /a?token=x1&b=2 HTTP/1.1", "GET /a?token=***&b=2 HTTP/1.1"),
        ("GET /a?b=2&access_token=x1 HTTP/1.1", "GET /a?b=2&access_token=*** HTTP/1.1"),
        ("next=%2Fa%3Ftoken%3Dx1%26b%3D2", "next=%2Fa%3Ftoken%3D***%26b%3D2"),
        ("q=%7B%22password%22%3A%22x1%22%7D", "q=%7B%22password%22%3A%22***%22%7D"),
        ("user[password]=x1&user%5Bpassword%5D=x2", "user[password]=***&user%5Bpassword%5D=***"),
        (r#"{"password":"x1","a":1}"#, r#"{"password":"***","a":1}"#),
        (r#"{"password" : "x1", "a":1}"#, r#"{"password" : "***", "a":1}"#),
        (r#"{\"password\":\"x1\",\"a\":1}"#, r#"{\"password\":\"***\",\"a\":1}"#),
        (r#"{\\\"password\\\":\\\"x1\\\"}"#, r#"{\\\"password\\\":\\\"***\\\"}"#),
        (r#"{\"password\":\"a\\\"b\",\"a\":1}"#, r#"{\"password\":\"***\",\"a\":1}"#),
        (r#"{\"password\":\"a\\\\\",\"a\":1}"#, r#"{\"password\":\"***\",\"a\":1}"#),
        (r#"{"password":"a\\","a":1}"#, r#"{"password":"***","a":1}"#),
        (r#"{"token":5,"a":1}"#, r#"{"token":"***","a":1}"#),
        (r#"{"token":-1.5e3}"#, r#"{"token":"***"}"#),
        (r#"{"token":true,"secret":null}"#, r#"{"token":true,"secret":null}"#),
        (r#"{\"token\":5,\"a\":1}"#, r#"{\"token\":\"***\",\"a\":1}"#),
        (r#"{"secret":{"a":["}",{}],"b":"x"},"c":1}"#, r#"{"secret":"***","c":1}"#),
        (r#"{\"secrets\":[\"a]\",\"b\"],\"c\":1}"#, r#"{\"secrets\":\"***\",\"c\":1}"#),
        (r#"{"m":"{\"secrets\":[\"a"}"#, r#"{"m":"{\"secrets\":\"***\""}"#),
        ("Authorization: Bearer x1.y", "Authorization: Bearer ***"),
        ("authorization: Basic dXNlcjpw== next", "authorization: Basic ***"),
        ("authorization: x1", "authorization: ***"),
        ("Proxy-Authorization: Custom abcdef123456", "Proxy-Authorization: ***"),
        ("Authorization: Digest username=\"a\", response=\"b\"\nHost: x", "Authorization: Digest ***\nHost: x"),
        (r#"{"Authorization":"Bearer x1"}"#, r#"{"Authorization":"Bearer ***"}"#),
        ("headers={Authorization=[Bearer x1], Accept=[*/*]}", "headers={Authorization=[Bearer ***], Accept=[*/*]}"),
        ("map[Authorization:[Bearer x1] Host:[h]]", "map[Authorization:[Bearer ***] Host:[h]]"),
        ("token=[a b c] d", "token=[***] d"),
        ("aws_secret_access_key = abc/def+1", "aws_secret_access_key = ***"),
        ("private key: x1", "private key: ***"),
        ("credentials=x1", "credentials=***"),
        ("DB_PASS=x1 dbPass=x2", "DB_PASS=*** dbPass=***"),
        ("password2=x1", "password2=***"),
        ("password=a,b", "password=***"),
        ("password=a, user=b", "password=***, user=b"),
        ("password=a,user=b", "password=***,user=b"),
        ("Server=s;Password=a;b;User Id=sa;", "Server=s;Password=***;User Id=sa;"),
        ("(password=a)", "(password=***)"),
        ("password=a)b", "password=***"),
        ("<a href=\"/x?token=a\">", "<a href=\"/x?token=***\">"),
        (r#"{"msg":"password=a\nuser=b"}"#, r#"{"msg":"password=***\nuser=b"}"#),
        ("password=\"unclosed value", "password=\"***"),
        ("密码 password=秘密 完", "密码 password=*** 完"),
        ("AccountKey=abc==;EndpointSuffix=core", "AccountKey=***;EndpointSuffix=core"),
        ("cvv: 123 otp=987654", "cvv: *** otp=***"),
    ] {
        assert_eq!(mask(&[Secrets], text), expected, "{text}");
    }
}

#[test]
fn words_that_are_no_secrets_stay() {
    for text in [
        "cache miss for key product:1:stock",
        "partition key: 7, hotkey=3",
        "max_tokens=100 prompt_tokens: 53",
        "tokenType: bearer",
        "PASS: 12 FAIL: 3",
        "bypass=1 compass: north",
        "password",
        "password:",
        "password=",
        "password=\"\"",
        "password \n:",
        r#"{"password":""}"#,
        r#"{"password":null}"#,
        "https://example.com/a:b",
        "time 12:34:56",
        "robotp=1 laptop: x",
    ] {
        assert_eq!(mask(&[Secrets], text), text);
    }
}

#[test]
fn cards_need_luhn_and_the_looks_of_a_card() {
    for (text, expected) in [
        ("4111111111111111", "***"),
        ("4111-1111-1111-1111.", "***."),
        ("x 4111 1111 1111 1111, y", "x ***, y"),
        ("378282246310005 3782 822463 10005", "*** ***"),
        ("9 4111 1111 1111 1111 5", "9 *** 5"),
        ("卡4111111111111111号", "卡***号"),
        ("card_4111111111111111", "card_***"),
        ("a4111111111111111", "a4111111111111111"),
        ("4111111111111112", "4111111111111112"),
        ("4111111111111111b", "4111111111111111b"),
        ("0.4111111111111111", "0.4111111111111111"),
        ("4111  1111 1111 1111", "4111  1111 1111 1111"),
        ("550e8400-e29b-41d4-a716-411111111116", "550e8400-e29b-41d4-a716-411111111116"),
        ("1750000000003", "1750000000003"),
        ("4111 1111 1111 1112 x", "4111 1111 1111 1112 x"),
    ] {
        assert_eq!(mask(&[CreditCard], text), expected, "{text}");
    }
}

#[test]
fn addresses_are_found_whole() {
    for (text, expected) in [
        ("<a.b+c@example.co.uk>,x", "<***>,x"),
        ("mail to j.doe@example.com.", "mail to ***."),
        ("user=bob@example.com&x=1", "user=***&x=1"),
        ("email%3Dbob%40example.com%26x", "email%3D***%26x"),
        ("邮箱bob@example.com已", "邮箱***已"),
        ("jürgen@müller.de", "***"),
        ("a@b a@b. @x.com a@.com a@localhost", "a@b a@b. @x.com a@.com a@localhost"),
        ("100% @ x.y", "100% @ x.y"),
        ("git@github.com:a/b.git", "git@github.com:a/b.git"),
        ("a@b@c.de", "a@***"),
    ] {
        assert_eq!(mask(&[Email], text), expected, "{text}");
    }
}

#[test]
fn other_kinds() {
    for (kind, text, expected) in [
        (Ipv4, "from 10.1.2.3:80, v1.2.3 and 1.2.3.4.5", "from ***:80, v1.2.3 and 1.2.3.4.5"),
        (Ipv6, "addr:fe80::1%eth0 [2001:db8::1]:443 10:20:30 a::b", "addr:*** [***]:443 10:20:30 a::b"),
        (
            MacAddress,
            "00:1a:2b:3c:4d:5e 00-1A-2B-3C-4D-5E 0012.3456.789a 00:00:00:00:00:00",
            "*** *** *** 00:00:00:00:00:00",
        ),
        (Jwt, "t eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln x eyJabc.def", "t *** x eyJabc.def"),
        (AwsKey, "id AKIAIOSFODNN7EXAMPLE key", "id *** key"),
        (AwsKey, "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "AWS_SECRET_ACCESS_KEY=***"),
        (
            StripeKey,
            "sk_live_AAAAAAAAAAAAAAAAAAAAAAAA pk_live_AAAAAAAAAAAAAAAAAAAAAAAA",
            "*** pk_live_AAAAAAAAAAAAAAAAAAAAAAAA",
        ),
        (PrivateKey, "a -----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- b", "a *** b"),
        (PrivateKey, r#"{"k":"-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"}"#, r#"{"k":"***\n"}"#),
        (PrivateKey, r#"{\"k\":\"-----BEGIN PRIVATE KEY-----\nMIIE\"}"#, r#"{\"k\":\"***\"}"#),
        (PrivateKey, "-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----"),
        (Iban, "DE89 3704 0044 0532 0130 00 DE89370400440532013001", "*** DE89370400440532013001"),
        (CnIdCard, "身份证11010519491231002X。110105194912310021", "身份证***。110105194912310021"),
        (
            CnPhone,
            "手机13812345678，+86 138-1234-5678 138123456789 12812345678",
            "手机***，*** 138123456789 12812345678",
        ),
        (
            UrlCredentials,
            "postgres://app:s3cr3t!x@db:5432/x https://example.com/a@b",
            "postgres://***@db:5432/x https://example.com/a@b",
        ),
        (UsSsn, "123-45-6789 123-45-67890 1234-5678", "*** 123-45-67890 1234-5678"),
        (
            HighEntropy,
            "k=Zm9vYmFyQmF6UXV4MTIzNDU2Nzg5MA== id 4bf92f3577b34da6a3ce929d0e0e4736",
            "k=*** id 4bf92f3577b34da6a3ce929d0e0e4736",
        ),
        (
            Phone,
            "call +1 415 555 0132 or (415) 555-0132 on 2024-01-02 at 12:30:45.123",
            "call *** or *** on 2024-01-02 at 12:30:45.123",
        ),
        (SlackToken, "https://hooks.slack.com/services/T0/B0/xyz", "***"),
    ] {
        assert_eq!(mask(&[kind], text), expected, "{kind:?}: {text}");
    }
}

#[test]
fn patterns_come_before_kinds_at_one_place_and_leftmost_comes_first() {
    let spec = [pattern("a", "bob@[a-z]+", Some("<a>")), pattern("b", "[a-z]+@example", Some("<b>"))];
    let rules = || Rules::new(&[Email], &spec, Action::Mask).unwrap();
    assert_eq!(run(rules(), "bob@example.com"), "<a>.com");
    assert_eq!(run(rules(), "x.bob@example.com"), "***");
    assert_eq!(run(rules(), "eve@example.com"), "<b>.com");
}

#[test]
fn groups_are_put_into_replacements() {
    let run1 = |regex, replace| {
        run(Rules::new(&[], &[pattern("p", regex, Some(replace))], Action::Mask).unwrap(), "id=12-34 id=56-78")
    };
    assert_eq!(run1(r"(\d+)-(\d+)", "$2***"), "id=34*** id=78***");
    assert_eq!(run1(r"id=(?P<first>\d+)-\d+", "<${first}>$$ $"), "<12>$ $ <56>$ $");
    assert_eq!(run1(r"\d+", "$0$0"), "id=1212-3434 id=5656-7878");
    let error = Rules::new(&[], &[pattern("p", "a", Some("$1"))], Action::Mask).unwrap_err();
    assert_eq!(error[0].1.to_string(), "`replace` names the group `1`, which the regular expression does not have");
}

#[test]
fn patterns_that_match_nothing_hide_no_others() {
    let rules =
        Rules::new(&[], &[pattern("e", r"\d*", Some("N")), pattern("f", "b", Some("B"))], Action::Mask).unwrap();
    assert_eq!(run(rules, "ab12b"), "aBNB");
}

#[test]
fn unicode_classes_of_patterns_work() {
    let rules = Rules::new(&[], &[pattern("u", r"名前: \p{Han}+", None)], Action::Mask).unwrap();
    assert_eq!(run(rules, "名前: 山田 x"), "*** x");
}

#[test]
fn every_bad_pattern_is_reported_with_its_place() {
    let specs = [pattern("a", "(", None), pattern("ok", "x", None), pattern("big", r"\w{1000}{100}", None)];
    let errors = Rules::new(&[], &specs, Action::Mask).unwrap_err();
    let texts: Vec<_> = errors.iter().map(|(i, e)| format!("{i}: {e}")).collect();
    assert_eq!(
        texts,
        [
            "0: not a regular expression: unclosed group at character 1",
            "2: the regular expression is too large: it compiles to more than 4 MiB"
        ]
    );
}

#[test]
fn rest_of_a_secret_that_begins_like_an_address_goes_too() {
    assert_eq!(mask(&[Email, Secrets], "password=a@b.com!x y"), "password=*** y");
}

#[test]
fn actions() {
    let with = |action| {
        run(Rules::new(&[Secrets, CreditCard], &[], action).unwrap(), "password=é9 card 4111 1111 1111 1234 x")
    };
    let text = "password=12345\u{e9}6 pin";
    let last = |n| run(Rules::new(&[Secrets], &[], Action::KeepLast(n)).unwrap(), text);
    assert_eq!(last(2), "password=***\u{e9}6 pin");
    assert_eq!(last(7), "password=*** pin");
    assert_eq!(with(Action::Remove), "password= card 4111 1111 1111 1234 x");
    let hash = with(Action::Hash(HashKey::new(b"key").unwrap()));
    // HMAC-SHA256("key", "é9"), from an independent implementation.
    assert_eq!(hash.len(), "password= card 4111 1111 1111 1234 x".len() + 64);
    let fox = {
        let mut out = Vec::new();
        Action::Hash(HashKey::new(b"key").unwrap()).write(b"The quick brown fox jumps over the lazy dog", &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(fox, "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8");
}

/// Every kind on texts made to mislead it: twice the text must not take much more than twice the time.
#[test]
fn time_is_linear_in_the_text() {
    use std::time::Instant;
    let kinds: Vec<DetectKind> = DetectKind::ALL.to_vec();
    let seeds = [
        "@",
        "a@",
        "%40",
        "a%40",
        "1",
        "1 ",
        "12-",
        "=",
        ":",
        "::",
        "password=",
        "password=\"",
        "password=\\\"",
        "password= ",
        "password=[ ",
        "\"token\":{",
        "\\\"token\\\":{\\\\\\\"\n",
        "token='\n",
        "\\",
        "\\\"",
        "\"password\":[\"",
        "eyJ",
        "eyJ-",
        "eyJ.",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN ",
        "://",
        "://a:b",
        "a.",
        "1.",
        "SG.",
        "ghs_1_eyJ",
        "ghp_",
        "xoxb-",
        "AKIA",
        "AB12",
        "AB12 ",
        "00:",
        "fe80:",
        "+",
        "(0",
        "aA1",
        "hooks.slack.com/services/",
        "secret_access_key",
        "password:   ",
        "authorization: a ",
        "authorization: Digest ",
        "%3D",
        "token=a,",
        "token=a;b ",
        "token=a\\n",
        "1234 ",
        "é",
        "a1B2c3D4 ",
    ];
    let mut scanner = Scanner::new(Arc::new(Rules::new(&kinds, &[], Action::Mask).unwrap()));
    let mut hits = Vec::new();
    for seed in seeds {
        let mut time = |size: usize| {
            let text = seed.repeat(size / seed.len());
            (0..2)
                .map(|_| {
                    hits.clear();
                    let start = Instant::now();
                    scanner.scan(text.as_bytes(), &mut hits);
                    start.elapsed()
                })
                .min()
                .unwrap()
        };
        // What else the machine does counts too: a slow round says nothing, a fast one does.
        let mut figures = Vec::new();
        let linear = (0..5).any(|_| {
            let (short, long) = (time(32 << 10), time(512 << 10));
            figures.push((short, long));
            // 16 times the text; a quadratic search would take 256 times as long.
            long < short.max(std::time::Duration::from_millis(5)) * 80
        });
        assert!(linear, "{seed:?}: for 32 KiB and 512 KiB {figures:?}");
    }
}
