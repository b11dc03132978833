//! The part of Consul's HTTP API that the store uses, answered as Consul 1.8 answers it.
//!
//! | module | paths |
//! |---|---|
//! | `agent` | `/v1/agent/...`, `/v1/status/...` |
//! | `catalog` | `/v1/catalog/...`, `/v1/health/...` |
//! | `kv` | `/v1/kv/...` |
//! | `session` | `/v1/session/...` |
//! | `admission` | which requests are heard at all |
//! | `request` | parameters and JSON bodies |
//! | `reply` | answers with an index, and errors |
//! | `duration` | durations in Go's notation |

mod admission;
mod agent;
mod catalog;
mod duration;
mod kv;
mod reply;
mod request;
mod session;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, put};
use reply::ApiError;

use super::core::Core;

/// The largest body of a request other than the value of a key.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What every handler is given.
#[derive(Clone, Debug)]
struct Api {
    core: Arc<Core>,
    /// Where the agent listens.
    address: SocketAddr,
    /// How long a change may take, with the time that its body takes to come.
    change_within: Duration,
}

/// Everything that the agent answers.
pub(super) fn router(core: Arc<Core>, address: SocketAddr, change_within: Duration) -> Router {
    let api = Api { core, address, change_within };
    let kv_routes = || {
        get(kv::read)
            .put(kv::write)
            .delete(kv::delete)
            .layer(DefaultBodyLimit::max(kv::VALUE_BYTES_MAX))
    };
    Router::new()
        .route("/v1/status/leader", get(agent::leader))
        .route("/v1/status/peers", get(agent::peers))
        .route("/v1/agent/self", get(agent::identity))
        .route("/v1/agent/services", get(agent::services))
        .route("/v1/agent/service/{id}", get(agent::service))
        .route("/v1/agent/service/register", put(agent::register))
        .route("/v1/agent/service/deregister/{id}", put(agent::deregister))
        .route("/v1/agent/checks", get(agent::checks))
        .route("/v1/agent/check/pass/{id}", put(agent::pass))
        .route("/v1/agent/check/warn/{id}", put(agent::warn))
        .route("/v1/agent/check/fail/{id}", put(agent::fail))
        .route("/v1/agent/check/update/{id}", put(agent::update))
        .route("/v1/catalog/nodes", get(catalog::nodes))
        .route("/v1/catalog/services", get(catalog::services))
        .route("/v1/catalog/service/{name}", get(catalog::instances))
        .route("/v1/health/service/{name}", get(catalog::health))
        .route("/v1/health/checks/{name}", get(catalog::checks_of_service))
        .route("/v1/health/state/{state}", get(catalog::checks_in_state))
        .route("/v1/kv/", kv_routes())
        .route("/v1/kv/{*key}", kv_routes())
        .route("/v1/session/create", put(session::create))
        .route("/v1/session/destroy/{id}", put(session::destroy))
        .route("/v1/session/renew/{id}", put(session::renew))
        .route("/v1/session/info/{id}", get(session::info))
        .route("/v1/session/list", get(session::list))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(api.clone(), admission::admit))
        .with_state(api)
}

async fn unknown_path() -> ApiError {
    ApiError::NotFound(
        "the embedded agent of `kvnode dev` serves only the part of Consul's API that the store uses"
            .to_owned(),
    )
}

async fn wrong_method(method: Method) -> Response {
    ApiError::Method(format!("method {method} not allowed")).into_response()
}
