//! What `detect` may name.

use crate::settings::config_enum;

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
        /// GitLab tokens.
        GitlabToken = "gitlab_token",
        /// npm tokens.
        NpmToken = "npm_token",
        /// PyPI tokens.
        PypiToken = "pypi_token",
        /// RubyGems keys.
        RubygemsKey = "rubygems_key",
        /// NuGet keys.
        NugetKey = "nuget_key",
        /// crates.io tokens.
        CratesToken = "crates_token",
        /// Clojars tokens.
        ClojarsToken = "clojars_token",
        /// Docker tokens.
        DockerToken = "docker_token",
        /// Anthropic keys.
        AnthropicKey = "anthropic_key",
        /// OpenRouter keys.
        OpenrouterKey = "openrouter_key",
        /// OpenAI keys.
        OpenaiKey = "openai_key",
        /// Hugging Face tokens.
        HuggingfaceToken = "huggingface_token",
        /// Replicate tokens.
        ReplicateToken = "replicate_token",
        /// Groq keys.
        GroqKey = "groq_key",
        /// Perplexity keys.
        PerplexityKey = "perplexity_key",
        /// xAI keys.
        XaiKey = "xai_key",
        /// Pinecone keys.
        PineconeKey = "pinecone_key",
        /// LangSmith keys.
        LangsmithKey = "langsmith_key",
        /// ElevenLabs keys.
        ElevenlabsKey = "elevenlabs_key",
        /// Google keys.
        GoogleKey = "google_key",
        /// Alibaba keys.
        AlibabaKey = "alibaba_key",
        /// Tencent keys.
        TencentKey = "tencent_key",
        /// Yandex keys.
        YandexKey = "yandex_key",
        /// DigitalOcean tokens.
        DigitaloceanToken = "digitalocean_token",
        /// Heroku keys.
        HerokuKey = "heroku_key",
        /// Fly.io tokens.
        FlyToken = "fly_token",
        /// Vercel tokens.
        VercelToken = "vercel_token",
        /// Netlify tokens.
        NetlifyToken = "netlify_token",
        /// Supabase keys.
        SupabaseKey = "supabase_key",
        /// PlanetScale tokens.
        PlanetscaleToken = "planetscale_token",
        /// Neon keys.
        NeonKey = "neon_key",
        /// CockroachDB keys.
        CockroachKey = "cockroach_key",
        /// Databricks tokens.
        DatabricksToken = "databricks_token",
        /// Cloudflare tokens.
        CloudflareToken = "cloudflare_token",
        /// Tailscale keys.
        TailscaleKey = "tailscale_key",
        /// HashiCorp Vault tokens.
        VaultToken = "vault_token",
        /// Terraform Cloud tokens.
        TerraformToken = "terraform_token",
        /// Doppler tokens.
        DopplerToken = "doppler_token",
        /// Pulumi tokens.
        PulumiToken = "pulumi_token",
        /// Prefect keys.
        PrefectKey = "prefect_key",
        /// Infracost keys.
        InfracostKey = "infracost_key",
        /// 1Password tokens.
        OnepasswordToken = "onepassword_token",
        /// age keys.
        AgeKey = "age_key",
        /// Grafana tokens.
        GrafanaToken = "grafana_token",
        /// Sentry tokens.
        SentryToken = "sentry_token",
        /// New Relic keys.
        NewrelicKey = "newrelic_key",
        /// Dynatrace tokens.
        DynatraceToken = "dynatrace_token",
        /// Honeycomb keys.
        HoneycombKey = "honeycomb_key",
        /// SonarQube tokens.
        SonarToken = "sonar_token",
        /// Sourcegraph tokens.
        SourcegraphToken = "sourcegraph_token",
        /// Buildkite tokens.
        BuildkiteToken = "buildkite_token",
        /// CircleCI tokens.
        CircleciToken = "circleci_token",
        /// Artifactory keys.
        ArtifactoryKey = "artifactory_key",
        /// Octopus Deploy keys.
        OctopusKey = "octopus_key",
        /// OpenShift tokens.
        OpenshiftToken = "openshift_token",
        /// Atlassian tokens.
        AtlassianToken = "atlassian_token",
        /// Trello tokens.
        TrelloToken = "trello_token",
        /// Postman keys.
        PostmanKey = "postman_key",
        /// Linear keys.
        LinearKey = "linear_key",
        /// Notion tokens.
        NotionToken = "notion_token",
        /// Airtable tokens.
        AirtableToken = "airtable_token",
        /// Figma tokens.
        FigmaToken = "figma_token",
        /// Contentful tokens.
        ContentfulToken = "contentful_token",
        /// Typeform tokens.
        TypeformToken = "typeform_token",
        /// ReadMe keys.
        ReadmeKey = "readme_key",
        /// Dropbox tokens.
        DropboxToken = "dropbox_token",
        /// Shopify tokens.
        ShopifyToken = "shopify_token",
        /// Square tokens.
        SquareToken = "square_token",
        /// Plaid tokens.
        PlaidToken = "plaid_token",
        /// Flutterwave keys.
        FlutterwaveKey = "flutterwave_key",
        /// Razorpay keys.
        RazorpayKey = "razorpay_key",
        /// EasyPost keys.
        EasypostKey = "easypost_key",
        /// Shippo tokens.
        ShippoToken = "shippo_token",
        /// Duffel tokens.
        DuffelToken = "duffel_token",
        /// Facebook tokens.
        FacebookToken = "facebook_token",
        /// Twilio keys.
        TwilioKey = "twilio_key",
        /// Mailgun keys.
        MailgunKey = "mailgun_key",
        /// Brevo keys.
        BrevoKey = "brevo_key",
        /// Telegram tokens.
        TelegramToken = "telegram_token",
        /// Discord tokens.
        DiscordToken = "discord_token",
        /// Microsoft Teams webhooks.
        TeamsWebhook = "teams_webhook",
        /// Zoho tokens.
        ZohoToken = "zoho_token",
        /// Mapbox tokens.
        MapboxToken = "mapbox_token",
        /// Microsoft Entra client secrets.
        AzureSecret = "azure_secret",
        /// Mailchimp keys.
        MailchimpKey = "mailchimp_key",
        /// MaxMind keys.
        MaxmindKey = "maxmind_key",
        /// NVIDIA keys.
        NvidiaKey = "nvidia_key",
        /// HubSpot tokens.
        HubspotToken = "hubspot_token",
        /// Resend keys.
        ResendKey = "resend_key",
        /// PostHog keys.
        PosthogKey = "posthog_key",
        /// Tavily keys.
        TavilyKey = "tavily_key",
        /// Cerebras keys.
        CerebrasKey = "cerebras_key",
        /// Together AI keys.
        TogetherKey = "together_key",
        /// Fireworks AI keys.
        FireworksKey = "fireworks_key",
        /// Paddle keys.
        PaddleKey = "paddle_key",
        /// Render keys.
        RenderKey = "render_key",
        /// Scalingo tokens.
        ScalingoToken = "scalingo_token",
        /// Frame.io tokens.
        FrameioToken = "frameio_token",
        /// Defined Networking keys.
        DefinedKey = "defined_key",
        /// LaunchDarkly SDK keys.
        LaunchdarklyKey = "launchdarkly_key",
        /// Harness tokens.
        HarnessToken = "harness_token",
        /// Langfuse keys.
        LangfuseKey = "langfuse_key",
        /// Snyk tokens.
        SnykToken = "snyk_token",
        /// Adafruit IO keys.
        AdafruitKey = "adafruit_key",
        /// Adobe client secrets.
        AdobeSecret = "adobe_secret",
        /// Polar tokens.
        PolarToken = "polar_token",
        /// Logfire tokens.
        LogfireToken = "logfire_token",
        /// Xata keys.
        XataKey = "xata_key",
        /// Firecrawl keys.
        FirecrawlKey = "firecrawl_key",
        /// Jina AI keys.
        JinaKey = "jina_key",
        /// Apify tokens.
        ApifyToken = "apify_token",
        /// Matrix tokens.
        MatrixToken = "matrix_token",
        /// Extended private keys of wallets.
        Bip32Key = "bip32_key",
        /// Amazon Bedrock keys.
        BedrockKey = "bedrock_key",
        /// Firebase messaging keys.
        FirebaseKey = "firebase_key",
        /// VK tokens.
        VkToken = "vk_token",
    }
}

impl DetectKind {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Self; 136] = [
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
        Self::GitlabToken,
        Self::NpmToken,
        Self::PypiToken,
        Self::RubygemsKey,
        Self::NugetKey,
        Self::CratesToken,
        Self::ClojarsToken,
        Self::DockerToken,
        Self::AnthropicKey,
        Self::OpenrouterKey,
        Self::OpenaiKey,
        Self::HuggingfaceToken,
        Self::ReplicateToken,
        Self::GroqKey,
        Self::PerplexityKey,
        Self::XaiKey,
        Self::PineconeKey,
        Self::LangsmithKey,
        Self::ElevenlabsKey,
        Self::GoogleKey,
        Self::AlibabaKey,
        Self::TencentKey,
        Self::YandexKey,
        Self::DigitaloceanToken,
        Self::HerokuKey,
        Self::FlyToken,
        Self::VercelToken,
        Self::NetlifyToken,
        Self::SupabaseKey,
        Self::PlanetscaleToken,
        Self::NeonKey,
        Self::CockroachKey,
        Self::DatabricksToken,
        Self::CloudflareToken,
        Self::TailscaleKey,
        Self::VaultToken,
        Self::TerraformToken,
        Self::DopplerToken,
        Self::PulumiToken,
        Self::PrefectKey,
        Self::InfracostKey,
        Self::OnepasswordToken,
        Self::AgeKey,
        Self::GrafanaToken,
        Self::SentryToken,
        Self::NewrelicKey,
        Self::DynatraceToken,
        Self::HoneycombKey,
        Self::SonarToken,
        Self::SourcegraphToken,
        Self::BuildkiteToken,
        Self::CircleciToken,
        Self::ArtifactoryKey,
        Self::OctopusKey,
        Self::OpenshiftToken,
        Self::AtlassianToken,
        Self::TrelloToken,
        Self::PostmanKey,
        Self::LinearKey,
        Self::NotionToken,
        Self::AirtableToken,
        Self::FigmaToken,
        Self::ContentfulToken,
        Self::TypeformToken,
        Self::ReadmeKey,
        Self::DropboxToken,
        Self::ShopifyToken,
        Self::SquareToken,
        Self::PlaidToken,
        Self::FlutterwaveKey,
        Self::RazorpayKey,
        Self::EasypostKey,
        Self::ShippoToken,
        Self::DuffelToken,
        Self::FacebookToken,
        Self::TwilioKey,
        Self::MailgunKey,
        Self::BrevoKey,
        Self::TelegramToken,
        Self::DiscordToken,
        Self::TeamsWebhook,
        Self::ZohoToken,
        Self::MapboxToken,
        Self::AzureSecret,
        Self::MailchimpKey,
        Self::MaxmindKey,
        Self::NvidiaKey,
        Self::HubspotToken,
        Self::ResendKey,
        Self::PosthogKey,
        Self::TavilyKey,
        Self::CerebrasKey,
        Self::TogetherKey,
        Self::FireworksKey,
        Self::PaddleKey,
        Self::RenderKey,
        Self::ScalingoToken,
        Self::FrameioToken,
        Self::DefinedKey,
        Self::LaunchdarklyKey,
        Self::HarnessToken,
        Self::LangfuseKey,
        Self::SnykToken,
        Self::AdafruitKey,
        Self::AdobeSecret,
        Self::PolarToken,
        Self::LogfireToken,
        Self::XataKey,
        Self::FirecrawlKey,
        Self::JinaKey,
        Self::ApifyToken,
        Self::MatrixToken,
        Self::Bip32Key,
        Self::BedrockKey,
        Self::FirebaseKey,
        Self::VkToken,
    ];

    /// Whether the text of a JSON number may be of this kind.
    pub(super) fn in_numbers(self) -> bool {
        matches!(self, Self::CreditCard | Self::Phone | Self::CnIdCard | Self::CnPhone)
    }
}
