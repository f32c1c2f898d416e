//! Limits, and whether to send people here.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hubbub_bus::BusStatus;
use hubbub_wire::rest::{Health, HealthStatus};

use crate::error::Refusal;
use crate::http::call::{Call, ok};
use crate::state::Shared;

/// A store that answers later than this is not there.
const STORE_DEADLINE: Duration = Duration::from_secs(2);

pub(crate) async fn limits(call: Call) -> Result<Response, Refusal> {
    Ok(ok(&call.shared.limits.published()))
}

/// The process runs.
pub(crate) async fn live() -> Response {
    ok(&Health {
        status: HealthStatus::Ok,
        detail: None,
    })
}

/// It serves: it is not going down, and has the bus and the stores.
pub(crate) async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let missing = if shared.draining.is_cancelled() {
        Some("draining")
    } else if shared.fanout.is_turned_away() {
        Some("hears nothing")
    } else if *shared.bus.status().borrow() == BusStatus::Down {
        Some("no bus")
    } else if !shared.log.is_fit() {
        Some("the store may lose what it commits")
    } else {
        match tokio::time::timeout(STORE_DEADLINE, shared.identity.highest_rev()).await {
            Ok(Ok(_)) => None,
            Ok(Err(_)) | Err(_) => Some("no store"),
        }
    };
    match missing {
        None => ok(&Health {
            status: HealthStatus::Ok,
            detail: None,
        }),
        Some(what) => {
            let health = Health {
                status: HealthStatus::Unavailable,
                detail: Some(what.to_owned()),
            };
            (StatusCode::SERVICE_UNAVAILABLE, Json(health)).into_response()
        }
    }
}
