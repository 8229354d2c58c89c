//! `json_extract` and `json_extract_scalar` as Athena has them: nested values are JSON text in the lake.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::prelude::SessionContext;

use super::json_path::JsonPath;

/// Makes the functions known.
pub(super) fn register(context: &SessionContext) {
    for kind in [Kind::Json, Kind::Scalar] {
        let signature = Signature::exact(vec![DataType::Utf8, DataType::Utf8], Volatility::Immutable);
        context.register_udf(ScalarUDF::from(Extract { kind, signature }));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// The value as JSON text.
    Json,
    /// A text, number or boolean as text; NULL for objects, arrays and the JSON null.
    Scalar,
}

impl Kind {
    fn value(self, raw: &str) -> Option<String> {
        match (self, raw.as_bytes().first()?) {
            (Kind::Json, _) => Some(raw.to_owned()),
            (Kind::Scalar, b'{' | b'[' | b'n') => None,
            (Kind::Scalar, b'"') => serde_json::from_str(raw).ok(),
            (Kind::Scalar, _) => Some(raw.to_owned()),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Extract {
    kind: Kind,
    signature: Signature,
}

impl ScalarUDFImpl for Extract {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Json => "json_extract",
            Kind::Scalar => "json_extract_scalar",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [texts, paths] = arrays.as_slice() else {
            return Err(DataFusionError::Plan(format!("{} takes a JSON text and a path", self.name())));
        };
        let mut last: Option<(&str, JsonPath)> = None;
        let mut values = Vec::with_capacity(texts.len());
        for (text, path) in texts.as_string::<i32>().iter().zip(paths.as_string::<i32>()) {
            let (Some(text), Some(path)) = (text, path) else {
                values.push(None);
                continue;
            };
            // The path is the same constant on every row, nearly always.
            if last.as_ref().is_none_or(|(known, _)| *known != path) {
                last = Some((path, JsonPath::parse(path).map_err(DataFusionError::Execution)?));
            }
            let found = last.as_ref().and_then(|(_, parsed)| parsed.find(text));
            values.push(found.and_then(|raw| self.kind.value(raw)));
        }
        Ok(ColumnarValue::Array(Arc::new(StringArray::from(values)) as ArrayRef))
    }
}
