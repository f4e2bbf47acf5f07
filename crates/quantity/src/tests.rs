use super::*;

/// Text, thousandths, whole units.
const READ: &[(&str, i64, i64)] = &[
    ("0", 0, 0),
    ("1", 1000, 1),
    ("+2", 2000, 2),
    ("+3", 3000, 3),
    ("-1", -1000, -1),
    ("100m", 100, 1),
    ("0.1", 100, 1),
    ("0.5", 500, 1),
    (".5", 500, 1),
    ("5.", 5000, 5),
    ("1500m", 1500, 2),
    ("1500u", 2, 1),
    ("1u", 1, 1),
    ("1n", 1, 1),
    ("0.0000000001", 1, 1),
    ("1k", 1_000_000, 1000),
    ("2k", 2_000_000, 2000),
    ("1Ki", 1_024_000, 1024),
    ("1.5Ki", 1_536_000, 1536),
    ("128Mi", 134_217_728_000, 134_217_728),
    ("129M", 129_000_000_000, 129_000_000),
    ("1.5Gi", 1_610_612_736_000, 1_610_612_736),
    ("1e3", 1_000_000, 1000),
    ("1E3", 1_000_000, 1000),
    ("12e-1", 1200, 2),
    ("12E-1", 1200, 2),
    ("1E", i64::MAX, 1_000_000_000_000_000_000),
    ("7Ei", i64::MAX, 7 << 60),
    ("1e-90", 1, 1),
    ("0e90", 0, 0),
    ("9223372036854775807", i64::MAX, i64::MAX),
];

/// Beyond the largest amount.
const TOO_LARGE: &[&str] =
    &["99999999999999999999999999999999999999999", "9e90", "1e99", "9Ei", "16Ei", "9223372036854775808"];

#[test]
fn every_spelling_is_read() {
    for (text, milli, value) in READ {
        for read in [Quantity::parse, Quantity::parse_exact] {
            let quantity = read(text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((quantity.milli(), quantity.value()), (*milli, *value), "{text}");
        }
    }
}

#[test]
fn other_texts_are_refused() {
    let refused = [
        "", "-", "+", "m", "1x", "1,5", "1.2.3", "1 Gi", "1Gib", "e3", "--1", "1ee3", "٣", "Mi", ".", "1mi", "1 Mi",
        "1KI", "1e", "inf", "0x10",
    ];
    for text in refused {
        assert_eq!(Quantity::parse(text), Err(ParseError::Syntax(text.into())));
        assert_eq!(Quantity::parse_exact(text), Err(ParseError::Syntax(text.into())));
    }
}

#[test]
fn amounts_beyond_the_largest_become_the_largest_or_are_refused() {
    for text in TOO_LARGE {
        let negative = format!("-{text}");
        assert_eq!(Quantity::parse(text).unwrap().value(), i64::MAX, "{text}");
        assert_eq!(Quantity::parse(&negative).unwrap().value(), -i64::MAX, "{text}");
        for text in [*text, &negative] {
            assert_eq!(Quantity::parse_exact(text), Err(ParseError::TooLarge(text.into())));
        }
    }
}

#[test]
fn only_the_sum_is_rounded() {
    let small = Quantity::parse("100u").unwrap();
    assert_eq!((small + small).milli(), 1);
    assert_eq!([small; 11].into_iter().sum::<Quantity>().milli(), 2);
    assert_eq!(Quantity::parse("1.0000000001").unwrap().value(), 2);
    assert_eq!(Quantity::parse("100m").unwrap().value(), 1);
    assert_eq!(Quantity::parse("-100m").unwrap().value(), -1);
}

#[test]
fn quantities_compare_by_their_amount() {
    let of = |text: &str| text.parse::<Quantity>().unwrap();
    assert_eq!(of("1000m"), of("1"));
    assert_eq!(of("0.1"), Quantity::thousandths(100));
    assert_eq!(of("2Ki"), Quantity::whole(2048));
    assert!(of("1Ki") > of("1k"));
    assert!(of("-1") < Quantity::ZERO);
    assert!(of("0").is_zero());
}

#[test]
fn errors_name_the_text() {
    let error = |text: &str| Quantity::parse_exact(text).unwrap_err().to_string();
    assert_eq!(error("much"), "\"much\" is not a quantity, such as 500m, 2 or 1.5Gi");
    assert_eq!(error("9Ei"), "\"9Ei\" is more than the largest quantity, 2^63 - 1");
}
