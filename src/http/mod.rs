//! HTTP as all doors of the agent speak it: clients with their certificates, proxies, credentials and retries, the small
//! servers, and from where a request may come.

mod client;
mod credentials;
mod door;
mod exchange;
mod failure;
pub(crate) mod jwt;
mod mask;
pub(crate) mod origin;
mod proxy;
mod retry;
pub(crate) mod server;
mod settings;
mod tls;
mod turns;

pub use client::{HttpExchange, Opened};
#[cfg(test)]
pub use credentials::Constant;
pub use credentials::{
    AuthConfig, BasicAuth, Credentials, Renewed, Sign, Signed, Unsigned, authorization, basic, bearer, sensitive,
    signer_of,
};
pub use door::{KnownText, UserPassword};
pub use exchange::{Answer, Exchange, Lost, LostKind, Request};
pub use failure::ClientError;
pub use mask::Mask;
pub use retry::{Backoff, MAX_RETRY_AFTER};
pub use settings::{ClientConfig, RetryConfig, TlsConfig, address, below, check_address, check_server, secrets_of};
pub use turns::Turns;
