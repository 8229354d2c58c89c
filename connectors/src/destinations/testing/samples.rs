//! Events as trackers send them, one of each kind: what the requests in the vendors' tests are made of.

/// Somebody bought something.
pub const ORDER_COMPLETED: &str = r#"{"type":"track","messageId":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a01","event":"Order Completed","userId":"u_48213","anonymousId":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","timestamp":"2026-03-14T09:26:53.589Z","properties":{"order_id":"A-1007","total":129.9,"currency":"EUR","products":[{"product_id":"sku-7","name":"Espresso cups","price":24.9,"quantity":2},{"product_id":"sku-9","name":"Kettle","price":80.1,"quantity":1}]},"context":{"ip":"203.0.113.24","locale":"de-DE","userAgent":"Mozilla/5.0 (X11; Linux x86_64; rv:139.0) Gecko/20100101 Firefox/139.0","traits":{"email":"ada@example.com"},"page":{"url":"https://shop.example/checkout/done","path":"/checkout/done","title":"Thank you","referrer":"https://shop.example/checkout"},"campaign":{"source":"newsletter","medium":"email","name":"spring"}}}"#;

/// Who somebody is.
pub const IDENTIFY: &str = r#"{"type":"identify","messageId":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a02","userId":"u_48213","anonymousId":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","timestamp":"2026-03-14T09:26:50.000Z","traits":{"email":"Ada@Example.com","firstName":"Ada","lastName":"Byron","plan":"pro","createdAt":"2026-01-05T08:00:00.000Z","company":{"name":"Analytical Ltd"}},"context":{"ip":"203.0.113.24","locale":"de-DE"}}"#;

/// A page that somebody unknown saw.
pub const PAGE: &str = r#"{"type":"page","messageId":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a03","anonymousId":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","timestamp":"2026-03-14T09:20:00.250Z","name":"Pricing","properties":{"url":"https://shop.example/pricing","path":"/pricing","title":"Pricing","referrer":"https://search.example/"},"context":{"userAgent":"Mozilla/5.0 (X11; Linux x86_64; rv:139.0) Gecko/20100101 Firefox/139.0"}}"#;

/// Somebody belongs to a company.
pub const GROUP: &str = r#"{"type":"group","messageId":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a04","userId":"u_48213","groupId":"acme-7","timestamp":"2026-03-14T09:30:00.000Z","traits":{"name":"Analytical Ltd","plan":"team","employees":42}}"#;

/// Two ids are one person.
pub const ALIAS: &str = r#"{"type":"alias","messageId":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a05","previousId":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","userId":"u_48213","timestamp":"2026-03-14T09:26:49.000Z"}"#;

/// A screen of an app.
pub const SCREEN: &str = r#"{"type":"screen","messageId":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a06","userId":"u_48213","anonymousId":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","timestamp":"2026-03-14T10:00:00.000Z","name":"Cart","properties":{"items":3},"context":{"app":{"name":"ShopApp","version":"4.2.0","build":"420"},"device":{"id":"D-77","type":"android","model":"Pixel 9","manufacturer":"Google"},"os":{"name":"Android","version":"16"}}}"#;
