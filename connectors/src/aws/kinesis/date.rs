//! The stream's clock: the `Date` of each answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::Format;

use crate::clock::Millis;

/// Looks at the answer to one call.
#[derive(Debug, Clone)]
pub(super) struct Clock(Arc<AtomicI64>);

impl Clock {
    pub(super) fn new() -> Self {
        Clock(Arc::new(AtomicI64::new(i64::MIN)))
    }

    /// When the answer was given, to the second; `None` without a readable `Date`.
    pub(super) fn told(&self) -> Option<Millis> {
        let told = self.0.load(Ordering::Acquire);
        (told != i64::MIN).then_some(Millis(told))
    }
}

impl Intercept for Clock {
    fn name(&self) -> &'static str {
        "Clock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(moment) = context.response().headers().get("date").and_then(parse) {
            self.0.store(moment.0, Ordering::Release);
        }
        Ok(())
    }
}

/// RFC 9110's date, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn parse(date: &str) -> Option<Millis> {
    DateTime::from_str(date, Format::HttpDate).ok()?.to_millis().ok().map(Millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read() {
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Millis(784_111_777_000)));
        assert_eq!(parse("yesterday"), None);
    }
}
