//! Plain HTTP requests, for what a well-behaved library would never send, and answers with all their headers.

use hubbub_client::Rest;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method};
use serde_json::Value;

use super::PATIENCE;

/// Requests to one node.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client,
    base: String,
    token: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// A request to be made.
#[derive(Clone, Default)]
pub(crate) struct Request<'a> {
    pub(crate) headers: Vec<(&'a str, &'a str)>,
    pub(crate) body: Option<Vec<u8>>,
}

impl Http {
    pub(crate) fn new(base_url: &str) -> Self {
        // Making one of these installs the process-wide TLS provider that the plain client needs as well.
        let _installed = Rest::new(base_url).expect("an HTTP client can be made");
        let client = Client::builder().timeout(PATIENCE).build();
        Self {
            client: client.expect("an HTTP client can be made"),
            base: base_url.to_owned(),
            token: None,
        }
    }

    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    pub(crate) fn anonymous(&self) -> Self {
        Self {
            token: None,
            ..self.clone()
        }
    }

    /// Makes a request; `path` is what follows `/api/v1`.
    pub(crate) async fn request(&self, method: &str, path: &str, request: Request<'_>) -> Answer {
        let method = Method::from_bytes(method.as_bytes()).expect("a sound method");
        let mut sending = self
            .client
            .request(method, format!("{}/api/v1{path}", self.base));
        if let Some(token) = &self.token {
            sending = sending.bearer_auth(token);
        }
        for (name, value) in request.headers {
            sending = sending.header(name, value);
        }
        if let Some(body) = request.body {
            sending = sending.body(body);
        }
        let response = sending.send().await.expect("an answer comes");
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response
                .bytes()
                .await
                .expect("the whole answer comes")
                .to_vec(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, Request::default()).await
    }

    /// A request with a body that says it is JSON.
    pub(crate) async fn json(&self, method: &str, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        let request = Request {
            headers: vec![("content-type", "application/json")],
            body: Some(body.into()),
        };
        self.request(method, path, request).await
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {text}"))
    }

    /// `status code` of a problem document, for tables.
    pub(crate) fn said(&self) -> String {
        if self.status < 400 {
            return self.status.to_string();
        }
        let media_type = self
            .headers
            .get("content-type")
            .map_or("", |value| value.to_str().unwrap_or(""));
        assert!(
            media_type.starts_with("application/problem+json"),
            "{media_type}: {self:?}"
        );
        let problem = self.json();
        format!(
            "{} {}",
            self.status,
            problem["code"].as_str().unwrap_or("-")
        )
    }

    /// Everything but what names this one request: the two must be equal where nothing may be told apart.
    pub(crate) fn without_request_id(&self) -> (u16, Vec<(String, String)>, Value) {
        let mut headers: Vec<(String, String)> = self
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    name.as_str().to_owned(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .filter(|(name, _value)| name != "date" && !name.contains("request-id"))
            .collect();
        headers.sort();
        let mut body = if self.body.is_empty() {
            Value::Null
        } else {
            self.json()
        };
        if let Some(problem) = body.as_object_mut() {
            problem.remove("request_id");
        }
        (self.status, headers, body)
    }
}
