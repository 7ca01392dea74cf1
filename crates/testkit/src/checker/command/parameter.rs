//! Parameters of MAIL and RCPT, each by the letter of its extension.

/// A parameter of a command, checked for form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::checker) struct Parameter {
    pub(in crate::checker) keyword: String,
    /// Empty if it has none.
    pub(in crate::checker) value: String,
}

impl Parameter {
    /// The keyword in the reply to EHLO that allows it (EHLO-13).
    pub(in crate::checker) fn extension(&self) -> &str {
        match (self.keyword.as_str(), self.value.as_str()) {
            ("BODY", "BINARYMIME") => "BINARYMIME",
            ("BODY", _) => "8BITMIME",
            ("RET" | "ENVID" | "NOTIFY" | "ORCPT", _) => "DSN",
            ("BY", _) => "DELIVERBY",
            ("HOLDFOR" | "HOLDUNTIL", _) => "FUTURERELEASE",
            (keyword, _) => keyword,
        }
    }
}

pub(super) fn of_mail(text: &str) -> Result<Vec<Parameter>, String> {
    read(text, |keyword, value| match keyword {
        "SIZE" => is_number(value, 20),
        "BODY" => matches!(value, "7BIT" | "8BITMIME" | "BINARYMIME"),
        "SMTPUTF8" | "REQUIRETLS" => value.is_empty(),
        "RET" => matches!(value, "FULL" | "HDRS"),
        "ENVID" => value.len() <= 100 && decode_xtext(value).is_some_and(is_text),
        "BY" => is_deliver_by(value),
        "MT-PRIORITY" => {
            let digit = value.strip_prefix('-').unwrap_or(value);
            digit != "0" && is_number(digit, 1) || value == "0"
        }
        "HOLDFOR" => is_number(value, 9),
        "HOLDUNTIL" => is_time(value),
        "AUTH" => value == "<>" || decode_xtext(value).is_some_and(is_text),
        _ => is_foreign(keyword),
    })
}

pub(super) fn of_rcpt(text: &str) -> Result<Vec<Parameter>, String> {
    read(text, |keyword, value| match keyword {
        "NOTIFY" => is_notify(value),
        "ORCPT" => is_original_recipient(value),
        _ => is_foreign(keyword),
    })
}

/// One blank before each parameter, none of them twice, and HOLDFOR not beside HOLDUNTIL.
fn read(text: &str, is_valid: impl Fn(&str, &str) -> bool) -> Result<Vec<Parameter>, String> {
    let mut parameters: Vec<Parameter> = Vec::new();
    let mut words = text.split(' ');
    if words.next() != Some("") {
        return Err(format!("{text:?} behind a path"));
    }
    for word in words {
        let (keyword, value) = word.split_once('=').unwrap_or((word, ""));
        let is_wrong = word.ends_with('=') || !is_valid(keyword, value);
        let is_clash = |known: &Parameter| {
            known.keyword == keyword
                || keyword.starts_with("HOLD") && known.keyword.starts_with("HOLD")
        };
        if is_wrong || value.contains('=') || parameters.iter().any(is_clash) {
            return Err(format!("parameter {word:?}"));
        }
        parameters.push(Parameter { keyword: keyword.to_owned(), value: value.to_owned() });
    }
    Ok(parameters)
}

/// A parameter that nobody here knows. Tests call theirs `X-…`.
fn is_foreign(keyword: &str) -> bool {
    keyword.starts_with("X-") && keyword.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_number(value: &str, digits: usize) -> bool {
    (1..=digits).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit())
}

/// Printable ASCII; no NUL from whatever depth (DSN-06).
fn is_text(octets: Vec<u8>) -> bool {
    !octets.is_empty() && octets.iter().all(|octet| (b' '..=b'~').contains(octet))
}

/// DLVBY-01
fn is_deliver_by(value: &str) -> bool {
    let Some((time, mode)) = value.split_once(';') else { return false };
    let digits = time.strip_prefix('-').unwrap_or(time);
    let is_positive = digits == time && digits.bytes().any(|b| b != b'0');
    is_number(digits, 9)
        && (matches!(mode, "N" | "NT") || matches!(mode, "R" | "RT") && is_positive)
}

/// `2026-12-24T18:00:00Z`
fn is_time(value: &str) -> bool {
    let form = "0000-00-00T00:00:00Z";
    let fits = |(octet, form): (u8, u8)| match form {
        b'0' => octet.is_ascii_digit(),
        form => octet == form,
    };
    value.len() == form.len() && value.bytes().zip(form.bytes()).all(fits)
}

/// DSN-01
fn is_notify(value: &str) -> bool {
    let words: Vec<&str> = value.split(',').collect();
    let is_once = |word: &&str| words.iter().filter(|other| other == &word).count() == 1;
    let is_known = |word: &&str| matches!(*word, "SUCCESS" | "FAILURE" | "DELAY");
    value == "NEVER" || words.iter().all(|word| is_known(word) && is_once(word))
}

/// DSN-02, DSN-04, UTF8-08
fn is_original_recipient(value: &str) -> bool {
    let Some((kind, address)) = value.split_once(';') else { return false };
    let is_address = match kind {
        // RFC 6533 section 3; the form that also goes to servers without SMTPUTF8.
        "utf-8" => {
            !address.is_empty()
                && address.bytes().all(|b| b.is_ascii_graphic() && b != b'+' && b != b'=')
                && address.split('\\').skip(1).all(|rest| {
                    let code = rest.strip_prefix("x{").and_then(|rest| rest.split_once('}'));
                    code.is_some_and(|(digits, _)| u32::from_str_radix(digits, 16).is_ok())
                })
        }
        _ => decode_xtext(address).is_some_and(is_text),
    };
    let is_kind = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    value.len() <= 500 && is_kind && is_address
}

/// DSN-04: octets 33 to 126 but for `+` and `=`, and `+HH` with upper-case digits.
pub(in crate::checker) fn decode_xtext(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        match octet {
            b'+' => {
                let digits = [rest.next()?, rest.next()?];
                if digits.iter().any(u8::is_ascii_lowercase) {
                    return None;
                }
                let digits = std::str::from_utf8(&digits).ok()?;
                octets.push(u8::from_str_radix(digits, 16).ok()?);
            }
            b'=' => return None,
            b'!'..=b'~' => octets.push(octet),
            _ => return None,
        }
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_ones() {
        for text in [
            "",
            " SIZE=10 BODY=BINARYMIME SMTPUTF8",
            " RET=HDRS ENVID=a+20b",
            " BY=120;R MT-PRIORITY=-9 HOLDFOR=60 REQUIRETLS",
            " BY=-5;NT MT-PRIORITY=0 HOLDUNTIL=2026-12-24T18:00:00Z",
            " AUTH=<>",
            " AUTH=e+2Bf@g X-OWN=1",
        ] {
            assert!(of_mail(text).is_ok(), "{text:?}");
        }
        for text in [
            " NOTIFY=NEVER",
            " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@c",
            " ORCPT=utf-8;j\\x{FC}r@c",
        ] {
            assert!(of_rcpt(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn bad_ones() {
        for text in [
            "SIZE=10",
            "  SIZE=10",
            " SIZE=",
            " SIZE=-1",
            " BODY=8bitmime",
            " SMTPUTF8=1",
            " ENVID=a+0ab",
            " ENVID=a+00",
            " ENVID=a=b",
            " BY=0;R",
            " BY=-1;R",
            " BY=1234567890;N",
            " MT-PRIORITY=10",
            " MT-PRIORITY=-0",
            " HOLDFOR=60 HOLDUNTIL=2026-12-24T18:00:00Z",
            " AUTH=a b",
            " OTHER=1",
        ] {
            assert!(of_mail(text).is_err(), "{text:?}");
        }
        for text in [
            " NOTIFY=NEVER,DELAY",
            " NOTIFY=DELAY,DELAY",
            " NOTIFY=delay",
            " ORCPT=a@b",
            " ORCPT=rfc822;a+b@c",
            " ORCPT=utf-8;\\xFC",
            " NOTIFY=NEVER NOTIFY=NEVER",
        ] {
            assert!(of_rcpt(text).is_err(), "{text:?}");
        }
        let long = format!(" ENVID={}", "a".repeat(101));
        assert!(of_mail(&long).is_err());
    }
}
