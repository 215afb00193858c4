#![allow(clippy::unwrap_used)]

use super::civil::days_in_month;
use proptest::prelude::*;

use super::*;

/// 2022-06-15T13:54:56Z.
const NOW: i64 = 1_655_301_296 * NS_PER_SEC;

fn ns(text: &str) -> i64 {
    i64::try_from(text.parse::<jiff::Timestamp>().unwrap().as_nanosecond()).unwrap()
}

fn written(ns: i64, digits: u8) -> String {
    let mut out = Vec::new();
    write_rfc3339_utc(ns, digits, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn every_day_of_ten_millennia_has_its_number() {
    let mut days = -719_528i64;
    for year in 0..=9999 {
        for month in 1..=12 {
            for day in 1..=days_in_month(year, month) {
                assert_eq!(civil::days_from_date(year, month, day), days, "{year}-{month}-{day}");
                assert_eq!(civil::date_from_days(days), (year, month, day));
                days += 1;
            }
        }
    }
    assert_eq!(civil::days_from_date(1970, 1, 1), 0);
}

#[test]
fn rfc3339_reads_zone_and_fraction() {
    let cases = [
        ("2022-06-15T13:54:56Z", "2022-06-15T13:54:56Z", 0),
        ("2022-06-15T13:54:56.789Z", "2022-06-15T13:54:56.789Z", 3),
        ("2022-06-15 13:54:56.789Z", "2022-06-15T13:54:56.789Z", 3),
        ("2022-06-15t13:54:56.7z", "2022-06-15T13:54:56.7Z", 1),
        ("2022-06-15T13:54:56.789123Z", "2022-06-15T13:54:56.789123Z", 6),
        ("2022-06-15T13:54:56.123456789987Z", "2022-06-15T13:54:56.123456789Z", 9),
        ("2022-06-15T13:54:56.12+02:00", "2022-06-15T11:54:56.12Z", 2),
        ("2022-06-15T13:54:56-03:30", "2022-06-15T17:24:56Z", 0),
        ("2020-02-29T00:00:00Z", "2020-02-29T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z", 3),
        ("2016-12-31T23:59:60.5Z", "2017-01-01T00:00:00.5Z", 1),
        ("2017-01-01T00:59:60+01:00", "2017-01-01T00:00:00Z", 0),
    ];
    for (text, expected, digits) in cases {
        assert_eq!(parse_rfc3339(text.as_bytes()), Some(Stamp { ns: ns(expected), digits }), "{text}");
    }
}

#[test]
fn rfc3339_refuses_what_does_not_exist() {
    for text in [
        "",
        "2022-06-15",
        "2022-06-15T13:54:56",
        "2022-06-15T13:54:56.Z",
        "2022-06-15T13:54:56.1",
        "2022-13-15T13:54:56Z",
        "2022-00-15T13:54:56Z",
        "2022-06-31T13:54:56Z",
        "2022-06-00T13:54:56Z",
        "2021-02-29T13:54:56Z",
        "1900-02-29T13:54:56Z",
        "2022-06-15T24:00:00Z",
        "2022-06-15T13:60:00Z",
        "2022-06-15T13:54:60Z",
        "2022-06-15T23:59:60Z",
        "2022-06-15T13:54:61Z",
        "2022-06-15T13:54:56+24:00",
        "2022-06-15T13:54:56+0200",
        "2022-06-15T13:54:56ZZ",
        "2022/06/15T13:54:56Z",
        "2022-06-15T13-54-56Z",
        "2022-06-15T13:54:56.1é",
        "202a-06-15T13:54:56Z",
        "9999-12-31T23:59:59Z", // real, but past what nanoseconds can count
        "0001-01-01T00:00:00Z",
    ] {
        assert_eq!(parse_rfc3339(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn canonical_is_a_real_utc_instant_and_nothing_else() {
    for good in [
        "2022-06-15T13:54:56Z",
        "2022-06-15T13:54:56.7Z",
        "2022-06-15T13:54:56.789Z",
        "2022-06-15T13:54:56.7891234567890123Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "2000-02-29T00:00:00Z",
        "2016-12-31T23:59:60Z",
        "2015-06-30T23:59:60.25Z",
    ] {
        assert!(is_canonical_utc(good.as_bytes()), "{good}");
    }
    for bad in [
        "2022-06-15 13:54:56Z",
        "2022-06-15t13:54:56Z",
        "2022-06-15T13:54:56z",
        "2022-06-15T13:54:56",
        "2022-06-15T13:54:56.Z",
        "2022-06-15T13:54:56,789Z",
        "2022-06-15T13:54:56.78aZ",
        "2022-06-15T13:54:56.789+00:00",
        "2022-02-30T13:54:56Z",
        "2100-02-29T13:54:56Z",
        "2022-06-15T13:54:60Z",
        "2022-06-15T23:59:60Z",
        " 2022-06-15T13:54:56Z",
        "2022-06-15T13:54:56Z ",
    ] {
        assert!(!is_canonical_utc(bad.as_bytes()), "{bad}");
    }
    assert!(is_normalized(b"2022-06-15T13:54:56.789Z"));
    assert!(is_normalized(b"2022-06-15T13:54:56.7891Z"));
    assert!(!is_normalized(b"2022-06-15T13:54:56.78Z"));
    assert!(!is_normalized(b"2022-06-15T13:54:56Z"));
}

#[test]
fn writing_keeps_at_least_milliseconds() {
    assert_eq!(written(ns("2022-06-15T13:54:56Z"), 0), "2022-06-15T13:54:56.000Z");
    assert_eq!(written(ns("2022-06-15T13:54:56.78912Z"), 5), "2022-06-15T13:54:56.78912Z");
    assert_eq!(written(ns("2022-06-15T13:54:56.123456789Z"), 9), "2022-06-15T13:54:56.123456789Z");
    assert_eq!(written(ns("1969-12-31T23:59:59.001Z"), 3), "1969-12-31T23:59:59.001Z");
    assert_eq!(written(i64::MIN, 3), "1677-09-21T00:12:43.145Z");
    assert_eq!(written(i64::MAX, 9), "2262-04-11T23:47:16.854775807Z");
}

#[test]
fn common_log_formats_are_read() {
    let reader = TimestampReader::default();
    let cases = [
        // Apache and nginx
        ("08/Jun/2020:06:49:01 +0000", "2020-06-08T06:49:01.000Z"),
        ("[08/Jun/2020:06:49:01 -0730]", "2020-06-08T14:19:01.000Z"),
        ("Thu Oct 13 12:24:49.880562 2022", "2022-10-13T12:24:49.880562Z"),
        ("[Sun Dec 04 04:47:44 2005]", "2005-12-04T04:47:44.000Z"),
        ("2021/12/01 13:53:33", "2021-12-01T13:53:33.000Z"),
        // syslog: no year; two days ahead of now and not last year's
        ("Jun 15 13:54:56", "2022-06-15T13:54:56.000Z"),
        ("Jun 16 13:54:56", "2022-06-16T13:54:56.000Z"),
        ("Jun 20 13:54:56.5", "2021-06-20T13:54:56.500Z"),
        ("Jan  2 15:04:05", "2022-01-02T15:04:05.000Z"),
        ("Feb 29 15:04:05", "2020-02-29T15:04:05.000Z"),
        ("Jan  2 15:04:05 2006", "2006-01-02T15:04:05.000Z"),
        ("Jan  2 2006 15:04:05", "2006-01-02T15:04:05.000Z"),
        ("Jan 2 2006 15:04:05.123 UTC", "2006-01-02T15:04:05.123Z"),
        // Java, Python, Go, Ruby
        ("2006-01-02 15:04:05,123", "2006-01-02T15:04:05.123Z"),
        ("2006-01-02 15:04:05.123456", "2006-01-02T15:04:05.123456Z"),
        ("2006-01-02T15:04:05.123+0200", "2006-01-02T13:04:05.123Z"),
        ("2006-01-02 15:04:05.999999999 -0700 MST", "2006-01-02T22:04:05.999999999Z"),
        ("2006-01-02 15:04:05 +0000 UTC m=+0.000012", "2006-01-02T15:04:05.000Z"),
        ("2006-01-02 15:04:05 UTC", "2006-01-02T15:04:05.000Z"),
        ("2006-01-02T15:04", "2006-01-02T15:04:00.000Z"),
        ("2006-01-02", "2006-01-02T00:00:00.000Z"),
        ("2006-01-02T15:04:05", "2006-01-02T15:04:05.000Z"),
        ("2006-01-02T15:04:05+02:00[Europe/Berlin]", "2006-01-02T13:04:05.000Z"),
        ("Jan 02, 2006 3:04:05 PM", "2006-01-02T15:04:05.000Z"),
        ("Jan 02, 2006 12:04:05 AM", "2006-01-02T00:04:05.000Z"),
        // mail, HTTP, date(1)
        ("Mon, 02 Jan 2006 15:04:05 -0700", "2006-01-02T22:04:05.000Z"),
        ("2 Jan 2006 15:04 EST", "2006-01-02T20:04:00.000Z"),
        ("Mon, 02 Jan 2006 15:04:05 GMT", "2006-01-02T15:04:05.000Z"),
        ("Mon, 02 Jan 2006 15:04:05 +0200 (CEST)", "2006-01-02T13:04:05.000Z"),
        ("Monday, 02-Jan-06 15:04:05 GMT", "2006-01-02T15:04:05.000Z"),
        ("Mon Jan  2 15:04:05 CET 2006", "2006-01-02T14:04:05.000Z"),
        ("Mon Jan  2 15:04:05 2006", "2006-01-02T15:04:05.000Z"),
        // ISO basic, BGL, Spark, HDFS, MySQL
        ("20060102T150405Z", "2006-01-02T15:04:05.000Z"),
        ("20060102T150405.123+0100", "2006-01-02T14:04:05.123Z"),
        ("20060102 150405", "2006-01-02T15:04:05.000Z"),
        ("20060102 15:04:05", "2006-01-02T15:04:05.000Z"),
        ("2005-06-03-15.42.50.675872", "2005-06-03T15:42:50.675872Z"),
        ("17/06/09 20:10:40", "2017-06-09T20:10:40.000Z"),
        ("081109 203615", "2008-11-09T20:36:15.000Z"),
        ("2006.01.02 15:04:05", "2006-01-02T15:04:05.000Z"),
    ];
    for (text, expected) in cases {
        let stamp = reader.read(text.as_bytes(), NOW).unwrap_or_else(|| panic!("not read: {text}"));
        assert_eq!(written(stamp.ns, stamp.digits), expected, "{text}");
    }
}

#[test]
fn what_is_no_timestamp_is_not_read() {
    let reader = TimestampReader::default();
    for text in [
        "",
        "now",
        "yesterday at noon",
        "12:34:56",
        "12/01/2021 13:53:33", // day or month first?
        "2021-13-01 00:00:00",
        "2021-02-30 00:00:00",
        "2021-12-01 25:00:00",
        "2021-12-01 13:53:33 hello",
        "2021-12-01 13:53:33 XYZ",
        "Foo 12 13:53:33",
        "Jun 31 13:53:33",
        "2021-12/01 13:53:33",
        "NaN",
        "inf",
        "1e400",
        "0x10",
        "1.2.3",
        "99999999999999999999",
        "2021-12-01T13:53:33+25:00",
        "Jan 02, 2006 13:04:05 PM",
    ] {
        assert_eq!(reader.read(text.as_bytes(), NOW), None, "{text}");
    }
}

#[test]
fn epochs_are_told_apart_by_size() {
    let reader = TimestampReader::default();
    let cases = [
        ("1700000000", "2023-11-14T22:13:20.000Z"),
        ("1700000000.123", "2023-11-14T22:13:20.123Z"),
        ("1700000000.123456789", "2023-11-14T22:13:20.123456789Z"),
        ("1700000000123", "2023-11-14T22:13:20.123Z"),
        ("1700000000123.25", "2023-11-14T22:13:20.12325Z"),
        ("1700000000123456", "2023-11-14T22:13:20.123456Z"),
        ("1700000000123456789", "2023-11-14T22:13:20.123456789Z"),
        ("0", "1970-01-01T00:00:00.000Z"),
        ("-1", "1969-12-31T23:59:59.000Z"),
        ("-1.5", "1969-12-31T23:59:58.500Z"),
        ("1.7e9", "2023-11-14T22:13:20.000Z"),
        ("31535999999", "2969-05-02T23:59:59.000Z"),
        ("31536000000", "1971-01-01T00:00:00.000Z"),
        ("31535999999999", "2969-05-02T23:59:59.999Z"),
        ("31536000000000", "1971-01-01T00:00:00.000000Z"),
    ];
    for (text, expected) in cases {
        if expected.starts_with("2969") {
            assert_eq!(reader.read(text.as_bytes(), NOW), None, "{text}: past what nanoseconds can count");
            continue;
        }
        let stamp = reader.read(text.as_bytes(), NOW).unwrap();
        assert_eq!(written(stamp.ns, stamp.digits), expected, "{text}");
    }
    assert_eq!(reader.read_i64(1_700_000_000_123), Some(Stamp { ns: 1_700_000_000_123_000_000, digits: 3 }));
    assert_eq!(reader.read_f64(1_700_000_000.123), Some(Stamp { ns: 1_700_000_000_123_000_000, digits: 3 }));
    assert_eq!(reader.read_f64(1_700_000_000_123.0), Some(Stamp { ns: 1_700_000_000_123_000_000, digits: 3 }));
    assert_eq!(reader.read_f64(f64::NAN), None);
    assert_eq!(reader.read_f64(1e300), None);
}

#[test]
fn no_zone_is_the_configured_one() {
    let berlin = TimestampReader::new(Zone::parse("Europe/Berlin").unwrap(), vec![]);
    let read = |text: &str| berlin.read(text.as_bytes(), NOW).map(|s| written(s.ns, s.digits)).unwrap();
    assert_eq!(read("2022-06-15 13:54:56"), "2022-06-15T11:54:56.000Z");
    assert_eq!(read("2022-01-15 13:54:56"), "2022-01-15T12:54:56.000Z");
    assert_eq!(read("2022-01-15 13:54:56Z"), "2022-01-15T13:54:56.000Z");
    assert_eq!(read("2022-03-27 02:30:00"), "2022-03-27T01:30:00.000Z", "in the gap: as if before it");
    assert_eq!(read("2022-10-30 02:30:00"), "2022-10-30T00:30:00.000Z", "in the fold: the first");
    assert_eq!(Zone::parse("+0530").unwrap().to_string(), "+05:30");
    assert_eq!(Zone::parse("utc").unwrap(), Zone::UTC);
    assert_eq!(Zone::parse("Europe/Berlin").unwrap().to_string(), "Europe/Berlin");
    assert!(Zone::parse("Europe/Atlantis").is_err());
    assert!(Zone::parse("").is_err());
}

#[test]
fn year_is_inferred_across_new_year() {
    let reader = TimestampReader::default();
    let at = |text: &str, now: &str| reader.read(text.as_bytes(), ns(now)).map(|s| written(s.ns, 3)).unwrap();
    assert_eq!(at("Dec 31 23:59:59", "2023-01-01T00:00:05Z"), "2022-12-31T23:59:59.000Z");
    assert_eq!(at("Jan  1 00:00:01", "2022-12-31T23:59:58Z"), "2023-01-01T00:00:01.000Z");
    assert_eq!(at("Mar  1 00:00:01", "2022-12-15T00:00:00Z"), "2022-03-01T00:00:01.000Z");
    assert_eq!(at("Feb 29 00:00:01", "1903-06-01T00:00:00Z"), "1896-02-29T00:00:01.000Z");
}

#[test]
fn formats_of_the_user_come_first() {
    let formats = ["%d/%m/%Y %H:%M:%S", "%Y%m%d%H%M%S", "%H:%M:%S,%f %d.%m.", "%s %z", "%m/%d/%y %I:%M %p %z"]
        .map(|f| InputFormat::parse(f).unwrap());
    let reader = TimestampReader::new(Zone::UTC, formats.to_vec());
    let read = |text: &str| reader.read(text.as_bytes(), NOW).map(|s| written(s.ns, s.digits));
    assert_eq!(read("02/01/2006 15:04:05").as_deref(), Some("2006-01-02T15:04:05.000Z"));
    assert_eq!(read("20060102150405").as_deref(), Some("2006-01-02T15:04:05.000Z"));
    assert_eq!(read("15:04:05,25 02.01.").as_deref(), Some("2022-01-02T15:04:05.250Z"));
    assert_eq!(read("01/02/06 03:04 PM +0100").as_deref(), Some("2006-01-02T14:04:00.000Z"));
    assert_eq!(read("1700000000 +0000").as_deref(), Some("2023-11-14T22:13:20.000Z"));
    assert_eq!(read("31/13/2006 15:04:05"), None);
}

#[test]
fn bad_formats_say_where() {
    let at = |text: &str| InputFormat::parse(text).unwrap_err();
    assert_eq!(at("%Y-%m-%d %q").at, 9..11);
    assert_eq!(at("%Y-%m-%d %").at, 9..10);
    assert!(at("%H:%M:%S").message.contains("no day"));
    assert!(at("%Y-%m-%d %I:%M").message.contains("%p"));
    assert!(InputFormat::parse("%Y-%m-%d").is_ok());
    assert!(InputFormat::parse("%b %e %H:%M:%S").is_ok());
    assert!(InputFormat::parse("%Y-%é").is_err());
}

#[test]
fn strftime_writes_the_utc_time() {
    let at = ns("2022-06-05T03:04:06.789012345Z");
    let write = |format: &str| {
        let mut out = Vec::new();
        Strftime::parse(format).unwrap().write(at, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(write("logs/%Y-%m-%d/%H.ndjson"), "logs/2022-06-05/03.ndjson");
    assert_eq!(write("%F %T %R %D"), "2022-06-05 03:04:06 03:04 06/05/22");
    assert_eq!(write("100%% %e %j %y %C %b %B %a %A %w %u"), "100%  5 156 22 20 Jun June Sun Sunday 0 7");
    assert_eq!(write("%V %G %I%p %L %f %N %s %Z %z"), "22 2022 03AM 789 789012 789012345 1654398246 UTC +0000");
    assert_eq!(write(""), "");
    let week = |text: &str| {
        let mut out = Vec::new();
        Strftime::parse("%G-W%V").unwrap().write(ns(text), &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(week("2021-01-03T00:00:00Z"), "2020-W53");
    assert_eq!(week("2018-12-31T00:00:00Z"), "2019-W01");
    assert_eq!(Strftime::parse("a%%b").unwrap().as_text(), Some("a%b"));
    assert_eq!(Strftime::parse("a/%Y").unwrap().leading_text(), "a/");
    assert_eq!(Strftime::parse("ab%Q").unwrap_err().at, 2..4);
    assert_eq!(Strftime::parse("ab%é").unwrap_err().at, 2..5);
    assert_eq!(Strftime::parse("50%").unwrap_err().at, 2..3);
}

#[test]
fn clocks_go_forward() {
    let (a, b) = (clock::monotonic_ns(), clock::monotonic_ns());
    assert!(a <= b);
    assert!(clock::now_ns() > ns("2025-01-01T00:00:00Z"));
}

/// A slow, obvious check of the canonical form.
fn naive_canonical(text: &str) -> bool {
    let b = text.as_bytes();
    let shape = b.len() >= 20
        && b.iter().enumerate().take(19).all(|(i, c)| match i {
            4 | 7 => *c == b'-',
            10 => *c == b'T',
            13 | 16 => *c == b':',
            _ => c.is_ascii_digit(),
        });
    if !shape || b[b.len() - 1] != b'Z' {
        return false;
    }
    let tail = &text[19..text.len() - 1];
    let fraction = tail.len() > 1 && tail.starts_with('.') && tail[1..].bytes().all(|c| c.is_ascii_digit());
    if !(tail.is_empty() || fraction) {
        return false;
    }
    let n = |r: std::ops::Range<usize>| text[r].parse::<i16>().unwrap();
    let second = n(17..19);
    let leap = second == 60;
    let date = jiff::civil::DateTime::new(
        n(0..4),
        n(5..7) as i8,
        n(8..10) as i8,
        n(11..13) as i8,
        n(14..16) as i8,
        if leap { 59 } else { second as i8 },
        0,
    );
    date.is_ok() && (!leap || matches!(&text[5..19], "06-30T23:59:60" | "12-31T23:59:60"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_again(at in any::<i64>(), digits in 0u8..=9) {
        let mut out = Vec::new();
        write_rfc3339_utc(at, digits, &mut out);
        let kept = digits.max(3);
        let unit = POW10[usize::from(9 - kept)];
        let cut = at.div_euclid(unit).checked_mul(unit);
        prop_assert!(is_normalized(&out));
        prop_assert_eq!(parse_rfc3339(&out), cut.map(|ns| Stamp { ns, digits: kept }));
        let mut again = Vec::new();
        let mut writer = Rfc3339Writer::new();
        writer.write(at / 3, digits, &mut Vec::new());
        writer.write(at, digits, &mut again);
        prop_assert_eq!(&again, &out);
        if let Some(cut) = cut {
            let oracle = jiff::Timestamp::from_nanosecond(i128::from(cut)).unwrap();
            prop_assert_eq!(String::from_utf8(out).unwrap().parse::<jiff::Timestamp>().unwrap(), oracle);
        }
    }

    #[test]
    fn canonical_agrees_with_a_slow_check(
        text in "[0-9]{4}-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,4})?[Zz+]"
    ) {
        prop_assert_eq!(is_canonical_utc(text.as_bytes()), naive_canonical(&text), "{}", text);
    }

    #[test]
    fn one_byte_off_is_judged_like_the_slow_check(at in 0usize..24, byte in any::<u8>()) {
        let mut text = *b"2016-12-31T23:59:58.123Z";
        text[at] = byte;
        let expected = std::str::from_utf8(&text).is_ok_and(naive_canonical);
        prop_assert_eq!(is_canonical_utc(&text), expected);
    }

    #[test]
    fn rfc3339_agrees_with_jiff(
        text in "(19|20)[0-9]{2}-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
    ) {
        let oracle = text.parse::<jiff::Timestamp>().ok().map(|t| t.as_nanosecond() as i64);
        prop_assert_eq!(parse_rfc3339(text.as_bytes()).map(|s| s.ns), oracle, "{}", text);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,40}|[0-9A-Za-z:,./ +\\[\\]()-]{0,40}", now in any::<i64>()) {
        let formats = vec![InputFormat::parse("%d.%m. %H:%M").unwrap(), InputFormat::parse("%s").unwrap()];
        let reader = TimestampReader::new(Zone::parse("America/New_York").unwrap(), formats);
        // RFC 3339 says the same whatever the zone and the formats.
        if let Some(stamp) = parse_rfc3339(text.as_bytes()) {
            prop_assert_eq!(reader.read(text.as_bytes(), now), Some(stamp));
        }
        let plain = TimestampReader::default();
        prop_assert!(reader.read(text.as_bytes(), now).is_some() || plain.read(text.as_bytes(), now).is_none());
    }

    #[test]
    fn no_format_makes_the_compilers_panic(text in "\\PC{0,12}|(%[-0-9.:]{0,2}[a-zA-Z%é]){0,6}") {
        if let Err(e) = InputFormat::parse(&text) {
            prop_assert!(text.get(e.at.clone()).is_some(), "{:?}", e.at);
        }
        if let Ok(format) = Strftime::parse(&text) {
            format.write(0, &mut Vec::new());
        }
    }
}

#[test]
fn a_date_that_may_be_another_day_is_told() {
    let formats = |list: &[&str]| list.iter().map(|f| InputFormat::parse(f).unwrap()).collect::<Vec<_>>();
    let doubt = |list: &[&str], text: &str| {
        let reader = TimestampReader::new(Zone::default(), formats(list));
        let doubt = reader.may_doubt(text.as_bytes()).then(|| reader.doubt(text.as_bytes())).flatten();
        doubt.map(|doubt| format!("{} | {}", doubt.taken.unwrap_or_default(), doubt.other))
    };
    let both = ["%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S"];
    assert_eq!(doubt(&both, "05/04/2026 10:00:00").unwrap(), "%m/%d/%Y %H:%M:%S | %d/%m/%Y %H:%M:%S");
    // Only one of them can read it, or both read the same day.
    assert_eq!(doubt(&both, "25/04/2026 10:00:00"), None);
    assert_eq!(doubt(&both, "04/04/2026 10:00:00"), None);
    // Whoever gives one format means it.
    assert_eq!(doubt(&both[..1], "05/04/2026 10:00:00"), None);
    // Without the year, as Android has it, and behind a word.
    let android = ["%m-%d %H:%M:%S.%L", "%d-%m %H:%M:%S.%L"];
    assert_eq!(doubt(&android, "05-04 10:00:00.123").unwrap(), format!("{} | {}", android[0], android[1]));
    assert_eq!(doubt(&["on %e/%m/%y", "on %D"], "on 5/04/26").unwrap(), "on %e/%m/%y | on %D");
    // What no format is given for.
    assert_eq!(doubt(&[], "05/04/2026 10:00").unwrap(), " | %d/%m/%Y` or `%m/%d/%Y");
    assert_eq!(doubt(&[], "5.4.2026").unwrap(), " | %d/%m/%Y` or `%m/%d/%Y");
    assert_eq!(doubt(&[], "21/12/01 10:00:00").unwrap(), "%y/%m/%d | %d/%m/%y");
    for text in [
        "25/04/2026 10:00",
        "01/Dec/2021:10:00:00 +0000",
        "2026-05-04T10:00:00Z",
        "10.0.0.1",
        "1736503200",
        "5/",
        "31/31/31",
    ] {
        assert_eq!(doubt(&[], text), None, "{text}");
    }
}

#[test]
fn dates_of_android_are_read_by_their_format() {
    let now = 1_777_863_721_000_000_000;
    let reader = TimestampReader::new(Zone::default(), vec![InputFormat::parse("%m-%d %H:%M:%S.%L").unwrap()]);
    let stamp = reader.read(b"05-03 10:00:00.123", now).unwrap();
    let mut text = Vec::new();
    write_rfc3339_utc(stamp.ns, stamp.digits, &mut text);
    assert_eq!(String::from_utf8(text).unwrap(), "2026-05-03T10:00:00.123Z");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4000, ..ProptestConfig::default() })]

    /// Reading a normalised text in one go says the same as asking whether it is one and reading it then.
    #[test]
    fn a_normalised_text_is_read_in_one_go(
        text in prop::sample::select(vec![
            "2026-11-30T10:11:12.123Z", "2016-12-31T23:59:60.000Z", "2016-12-30T23:59:60.000Z", "2026-02-29T10:11:12.1234567Z",
            "2026-11-30T10:11:12Z", "2026-11-30T10:11:12.12+01:00Z", "2026-11-30 10:11:12.123456789123Z", "9999-12-31T23:59:59.999Z",
        ]),
        at in 0..32usize,
        byte in prop::sample::select(b"0369TtZz.:-+ x".to_vec()),
    ) {
        let mut text = text.as_bytes().to_vec();
        if let Some(place) = text.get_mut(at) {
            *place = byte;
        }
        let wanted = if is_normalized(&text) { parse_rfc3339(&text) } else { None };
        prop_assert_eq!(parse_normalized(&text), wanted, "{:?}", String::from_utf8_lossy(&text));
    }
}
