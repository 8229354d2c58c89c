//! Amazon Resource Names: what of AWS a text names, and where that is.

/// The longest name of a function.
const FUNCTION: usize = 64;

/// A name, taken apart: `arn:partition:service:region:account:resource`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arn<'a> {
    /// Whose it is: `lambda`, `kinesis`.
    pub service: &'a str,
    /// Where it is.
    pub region: &'a str,
    /// The account it belongs to.
    pub account: &'a str,
    /// What it is, in the service's own words: `function:name`, `stream/name`.
    pub resource: &'a str,
}

impl<'a> Arn<'a> {
    /// Takes a text apart; `None`: it names nothing of AWS.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next();
        let (scheme, partition) = (next()?, next()?);
        let arn = Arn { service: next()?, region: next()?, account: next()?, resource: next()? };
        let fine = scheme == "arn"
            && partition.starts_with("aws")
            && !arn.service.is_empty()
            && !arn.resource.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        fine.then_some(arn)
    }

    /// The function it names, without a version or an alias.
    pub fn function(&self) -> Option<&'a str> {
        let rest = self.resource.strip_prefix("function:").filter(|_| self.service == "lambda")?;
        let (name, qualifier) = rest.split_once(':').map_or((rest, None), |(name, of)| (name, Some(of)));
        let placed = !self.region.is_empty() && is_number(self.account);
        let fits = is_word(name) && name.len() <= FUNCTION;
        let qualified = qualifier.is_none_or(|of| of == "$LATEST" || is_word(of));
        (placed && fits && qualified).then_some(name)
    }

    /// The stream it names.
    pub fn stream(&self) -> Option<&'a str> {
        let name = self.resource.strip_prefix("stream/").filter(|_| self.service == "kinesis")?;
        let placed = !self.region.is_empty() && is_number(self.account);
        (placed && !name.is_empty() && !name.contains('/')).then_some(name)
    }
}

/// Letters, digits, `-` and `_`, at least one.
fn is_word(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !text.is_empty() && text.bytes().all(fits)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let arn = Arn::parse("arn:aws:lambda:eu-west-1:123456789012:function:to-crm:live").unwrap();
        let wanted = Arn {
            service: "lambda",
            region: "eu-west-1",
            account: "123456789012",
            resource: "function:to-crm:live",
        };
        assert_eq!((arn, arn.function(), arn.stream()), (wanted, Some("to-crm"), None));
        let stream = Arn::parse("arn:aws-cn:kinesis:cn-north-1:123456789012:stream/web.2").unwrap();
        assert_eq!((stream.stream(), stream.function()), (Some("web.2"), None));
        for text in [
            "",
            "mixpanel",
            "arn:aws",
            "arn:aws:lambda:x",
            "a:b:c:d:e:f",
            "arn:aws:s3:::",
            "arn:aws:s3:::a b",
        ] {
            assert_eq!(Arn::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_functions_are_functions() {
        let function = |text| Arn::parse(text).and_then(|arn| arn.function());
        for (text, name) in [
            ("arn:aws:lambda:us-east-1:1:function:f", Some("f")),
            ("arn:aws:lambda:us-east-1:1:function:f:$LATEST", Some("f")),
            ("arn:aws:lambda:us-east-1:1:function:f:7", Some("f")),
            ("arn:aws:lambda:us-east-1:1:function:f:a:b", None),
            ("arn:aws:lambda:us-east-1:1:function:f:", None),
            ("arn:aws:lambda:us-east-1:1:function:", None),
            ("arn:aws:lambda:us-east-1:1:layer:f", None),
            ("arn:aws:lambda::1:function:f", None),
            ("arn:aws:lambda:us-east-1:acme:function:f", None),
            ("arn:aws:sqs:us-east-1:1:function:f", None),
        ] {
            assert_eq!(function(text), name, "{text}");
        }
    }
}
