//! The formats a string can be checked for.

use crate::standardise::time;

/// A supported value of the keyword `format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    DateTime,
    Date,
    Uuid,
    Email,
}

impl Format {
    /// All of them with their names.
    pub(crate) const NAMES: [(&'static str, Format); 4] = [
        ("date-time", Format::DateTime),
        ("date", Format::Date),
        ("uuid", Format::Uuid),
        ("email", Format::Email),
    ];

    /// The format of this name.
    pub(crate) fn named(name: &str) -> Option<Format> {
        Format::NAMES.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
    }

    /// As a rule reads.
    pub(crate) fn rule(self) -> &'static str {
        match self {
            Format::DateTime => "format date-time",
            Format::Date => "format date",
            Format::Uuid => "format uuid",
            Format::Email => "format email",
        }
    }

    /// Whether `text` is of this format.
    pub(crate) fn holds(self, text: &str) -> bool {
        match self {
            Format::DateTime => time::rfc3339(text).is_some(),
            Format::Date => time::date(text).is_some(),
            Format::Uuid => is_uuid(text),
            Format::Email => is_email(text),
        }
    }
}

/// RFC 9562's text form: 8-4-4-4-12 hexadecimal digits.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// RFC 5321's mailbox: a dotted or quoted local part, then a host name or an address literal.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let quoted = |text: &str| {
        text.len() > 2
            && text.starts_with('"')
            && text.ends_with('"')
            && text.bytes().all(|byte| (b' '..0x7f).contains(&byte))
            && !text[1..text.len() - 1].replace("\\\\", "").replace("\\\"", "").contains('"')
    };
    let atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    let dotted = local.split('.').all(|part| !part.is_empty() && part.bytes().all(atom));
    local.len() <= 64 && (dotted || quoted(local)) && (is_host(domain) || is_literal(domain))
}

fn is_host(domain: &str) -> bool {
    domain.len() <= 255
        && domain.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

fn is_literal(domain: &str) -> bool {
    let Some(inner) = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else { return false };
    match inner.strip_prefix("IPv6:") {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => inner.parse::<std::net::Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_knows_its_own() {
        let table = [
            (Format::Uuid, "2eb8aa08-AA98-11ea-b4aa-73b441d16380", true),
            (Format::Uuid, "2eb8aa08aa9811eab4aa73b441d16380", false),
            (Format::Uuid, "2eb8aa08-aa98-11ea-b4ga-73b441d16380", false),
            (Format::Email, "joe.bloggs+tag@example.com", true),
            (Format::Email, "te~st@example.com", true),
            (Format::Email, "\"joe bloggs\"@example.com", true),
            (Format::Email, "joe@[127.0.0.1]", true),
            (Format::Email, "joe@[IPv6:::1]", true),
            (Format::Email, ".joe@example.com", false),
            (Format::Email, "joe..b@example.com", false),
            (Format::Email, "2962", false),
            (Format::Email, "joe@ex ample.com", false),
            (Format::Email, "@example.com", false),
            (Format::Date, "2020-02-29", true),
            (Format::Date, "2021-02-29", false),
            (Format::DateTime, "2020-01-01T00:00:00Z", true),
            (Format::DateTime, "2020-01-01T00:00:00", false),
        ];
        for (format, text, wanted) in table {
            assert_eq!(format.holds(text), wanted, "{format:?} {text}");
        }
    }
}
