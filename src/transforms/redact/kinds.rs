//! What `detect` may name.

use crate::config::config_enum;

config_enum! {
    /// A built-in kind of sensitive text.
    pub enum DetectKind {
        /// The value after `password`, `token`, `api key`, `secret`, `authorization` and the like, with `:` or `=`.
        Secrets = "secrets",
        /// Mail addresses.
        Email = "email",
        /// Payment card numbers of 12 to 19 digits that pass Luhn's check.
        CreditCard = "credit_card",
        /// Telephone numbers, by their looks.
        Phone = "phone",
        /// IPv4 addresses.
        Ipv4 = "ipv4",
        /// IPv6 addresses, with their zone.
        Ipv6 = "ipv6",
        /// Hardware addresses.
        MacAddress = "mac_address",
        /// United States social security numbers with separators.
        UsSsn = "us_ssn",
        /// JSON web tokens.
        Jwt = "jwt",
        /// AWS access key ids and secret access keys.
        AwsKey = "aws_key",
        /// GitHub tokens.
        GithubToken = "github_token",
        /// Slack tokens and webhooks.
        SlackToken = "slack_token",
        /// Stripe secret and restricted keys, and secrets of webhooks.
        StripeKey = "stripe_key",
        /// SendGrid keys.
        SendgridKey = "sendgrid_key",
        /// PEM blocks of private keys.
        PrivateKey = "private_key",
        /// International bank account numbers with right check digits.
        Iban = "iban",
        /// Chinese resident identity numbers with a right check digit.
        CnIdCard = "cn_id_card",
        /// Chinese mobile numbers.
        CnPhone = "cn_phone",
        /// User and password in URLs.
        UrlCredentials = "url_credentials",
        /// Long tokens that look random.
        HighEntropy = "high_entropy",
    }
}

impl DetectKind {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Self; 20] = [
        Self::Secrets,
        Self::Email,
        Self::CreditCard,
        Self::Phone,
        Self::Ipv4,
        Self::Ipv6,
        Self::MacAddress,
        Self::UsSsn,
        Self::Jwt,
        Self::AwsKey,
        Self::GithubToken,
        Self::SlackToken,
        Self::StripeKey,
        Self::SendgridKey,
        Self::PrivateKey,
        Self::Iban,
        Self::CnIdCard,
        Self::CnPhone,
        Self::UrlCredentials,
        Self::HighEntropy,
    ];

    /// Whether the text of a JSON number may be of this kind.
    pub(super) fn in_numbers(self) -> bool {
        matches!(self, Self::CreditCard | Self::Phone | Self::CnIdCard | Self::CnPhone)
    }
}
