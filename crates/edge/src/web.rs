//! The web client, out of the binary; and the answer to every path that is nothing.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use rust_embed::Embed;

use crate::error::Refusal;

/// The built client. Debug builds read it from disk, so a new build shows without compiling.
#[derive(Embed)]
#[folder = "../../web/dist"]
#[allow_missing = true]
struct Bundle;

const INDEX: &str = "index.html";
/// File names under it carry a hash of their content.
const HASHED: &str = "assets/";
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// Shown when the client has not been built.
const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Hubbub</title></head><body>\
<h1>Hubbub is running</h1><p>Its web client is not in this build. Build it with <code>cargo xtask up</code>, \
or <code>npm install &amp;&amp; npm run build</code> in <code>web/</code>, then start again.</p>\
<p>The API is at <code>/api/v1</code>.</p></body></html>";

/// What no route takes: files of the client, its pages, and nothing.
pub(crate) async fn page(request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let api = path == "api" || path.starts_with("api/");
    if api {
        return Refusal::not_found().into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = Refusal::method_not_allowed().into_response();
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET,HEAD"));
        return response;
    }
    if !path.is_empty()
        && let Some(response) = file(path)
    {
        return response;
    }
    if is_page(path, request.headers()) {
        return file(INDEX).unwrap_or_else(not_built);
    }
    Refusal::not_found().into_response()
}

/// Whether a path is one of the client's own: it has no file ending, and a person or a program that takes HTML asks.
fn is_page(path: &str, headers: &HeaderMap) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    let accepts = headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or("*/*");
    !path.starts_with(HASHED)
        && !last.contains('.')
        && (accepts.contains("text/html") || accepts.contains("*/*"))
}

fn file(path: &str) -> Option<Response> {
    let file = Bundle::get(path)?;
    let cache = if path.starts_with(HASHED) {
        IMMUTABLE
    } else {
        REVALIDATE
    };
    let media_type = HeaderValue::from_str(&media_type(file.metadata.mimetype())).ok()?;
    let mut response = Response::new(Body::from(file.data.into_owned()));
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response.headers_mut().insert(CACHE_CONTROL, cache);
    Some(response)
}

fn media_type(guessed: &str) -> String {
    if guessed.starts_with("text/") {
        format!("{guessed}; charset=utf-8")
    } else {
        guessed.to_owned()
    }
}

fn not_built() -> Response {
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    (
        StatusCode::OK,
        [(CONTENT_TYPE, html), (CACHE_CONTROL, REVALIDATE)],
        NOT_BUILT,
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_the_client_are_told_from_files() {
        let html = |path| is_page(path, &HeaderMap::new());
        assert!(html("") && html("c/0190") && html("login"));
        assert!(!html("favicon.ico") && !html("assets/app") && !html("c/x.js"));
        let mut json = HeaderMap::new();
        json.insert(ACCEPT, HeaderValue::from_static("application/json"));
        assert!(!is_page("login", &json));
    }
}
