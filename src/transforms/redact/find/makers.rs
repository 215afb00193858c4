//! Tokens of well-known makers, by the prefix that each gives to its own.
//!
//! All of them are long: a run of [`LEAST`] bytes at least of letters, digits and `_ - . /`. Ordinary text has no such run
//! and is passed in steps of up to as many bytes, looking at the last byte of a window first. Only within a run are the
//! prefixes looked for, at each place where a word begins.
//!
//! What follows the prefix must be long enough, and not look like words: a digit, or letters of both cases. Prefixes and
//! lengths are those that the makers publish and that secret scanners look for.

use super::Found;
use super::secrets::programs;
use super::tokens::{self, Check};
use crate::transforms::redact::ascii::{
    ALNUM, DASH, DIGIT, HEX, LOWER, TOKEN, UPPER, escape_before, is, is_at, run, run_back,
};
use crate::transforms::redact::kinds::DetectKind as Kind;
use crate::transforms::redact::marks::{self, Marks};
use regex_automata::Span;

/// The shortest run of bytes that holds a token.
const LEAST: usize = marks::TOKEN;

/// How much of a longer run is looked at in one go.
const NEAR: usize = 512;

/// What follows a prefix.
#[derive(Clone, Copy)]
enum Body {
    /// A run of bytes of these classes, so many at least; dots with more of them behind belong to it.
    Run(u16, usize),
    /// As many as this, and no letter or digit behind.
    Exactly(u16, usize),
    /// Letters, digits and `+ / =` and `_`, so many at least.
    Base64(usize),
    /// As the function says.
    Checked(fn(&[u8], Span) -> Check),
}

const ANY: u16 = ALNUM | DASH;
const CAPITALS: u16 = UPPER | DIGIT | DASH;

use Body::{Base64, Checked, Exactly, Run};

/// The makers, with their prefixes and what follows them. Where one prefix begins with another, the longer comes first.
#[rustfmt::skip]
const TABLE: &[(Kind, &[&str], Body)] = &[
    (Kind::Jwt, &["eyJ", "eyAi", "ewog", "ewoJ", "ew0K"], Checked(tokens::jwt)),
    (Kind::GithubToken, &["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"], Checked(tokens::github_token)),
    (Kind::SlackToken, &["xoxa-", "xoxb-", "xoxc-", "xoxd-", "xoxe-", "xoxe.", "xoxo-", "xoxp-", "xoxr-", "xoxs-", "xapp-",
        "hooks.slack.com/services/", "hooks.slack.com/workflows/", "hooks.slack.com/triggers/"], Checked(tokens::slack_token)),
    (Kind::StripeKey, &["sk_live_", "sk_test_", "rk_live_", "rk_test_", "sk_prod_", "rk_prod_", "whsec_", "sk_org_"],
        Checked(tokens::stripe_key)),
    (Kind::SendgridKey, &["SG."], Checked(tokens::sendgrid_key)),
    (Kind::GitlabToken, &["glpat-", "gldt-", "glrt-", "glrtr-", "glptt-", "glcbt-", "glft-", "glffct-", "glimt-", "glagent-",
        "gloas-", "glsoat-", "glwt-", "GR1348941"], Run(ANY, 20)),
    (Kind::NpmToken, &["npm_"], Run(ALNUM, 36)),
    (Kind::PypiToken, &["pypi-AgE"], Run(ANY, 50)),
    (Kind::RubygemsKey, &["rubygems_"], Run(HEX, 48)),
    (Kind::NugetKey, &["oy2"], Exactly(LOWER | DIGIT, 43)),
    (Kind::CratesToken, &["cio"], Exactly(ALNUM, 32)),
    (Kind::ClojarsToken, &["CLOJARS_"], Run(ALNUM, 60)),
    (Kind::DockerToken, &["dckr_pat_", "dckr_oat_"], Run(ANY, 20)),
    (Kind::AnthropicKey, &["sk-ant-"], Run(ANY, 24)),
    (Kind::OpenrouterKey, &["sk-or-v1-", "sk-or-"], Run(ALNUM, 32)),
    (Kind::OpenaiKey, &["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-None-"], Run(ANY, 32)),
    (Kind::OpenaiKey, &["sk-"], Run(ALNUM, 32)),
    (Kind::HuggingfaceToken, &["hf_", "api_org_"], Run(ALNUM, 30)),
    (Kind::ReplicateToken, &["r8_"], Run(ALNUM, 34)),
    (Kind::GroqKey, &["gsk_"], Run(ALNUM, 40)),
    (Kind::PerplexityKey, &["pplx-"], Run(ALNUM, 40)),
    (Kind::XaiKey, &["xai-"], Run(ALNUM, 60)),
    (Kind::PineconeKey, &["pcsk_"], Run(ANY, 40)),
    (Kind::LangsmithKey, &["lsv2_pt_", "lsv2_sk_"], Run(ANY, 32)),
    (Kind::ElevenlabsKey, &["sk_"], Exactly(HEX, 48)),
    (Kind::GoogleKey, &["AIza"], Run(ANY, 35)),
    (Kind::GoogleKey, &["GOCSPX-"], Run(ANY, 24)),
    (Kind::GoogleKey, &["ya29.", "1//0"], Run(ANY, 30)),
    (Kind::AlibabaKey, &["LTAI"], Run(ALNUM, 16)),
    (Kind::TencentKey, &["AKID"], Run(ALNUM, 32)),
    (Kind::YandexKey, &["AQVN"], Run(ANY, 35)),
    (Kind::YandexKey, &["y0_", "y1_"], Run(ANY, 40)),
    (Kind::DigitaloceanToken, &["dop_v1_", "doo_v1_", "dor_v1_"], Run(HEX, 60)),
    (Kind::HerokuKey, &["HRKU-"], Run(ANY, 36)),
    (Kind::FlyToken, &["fo1_"], Run(ANY, 40)),
    (Kind::FlyToken, &["fm1r_", "fm1a_", "fm2_"], Base64(60)),
    (Kind::VercelToken, &["vcp_", "vci_", "vca_", "vcr_", "vck_", "vercel_blob_rw_"], Run(ANY, 24)),
    (Kind::NetlifyToken, &["nfp_"], Run(ALNUM, 36)),
    (Kind::SupabaseKey, &["sbp_", "sbp_v0_"], Run(HEX, 40)),
    (Kind::SupabaseKey, &["sb_secret_"], Run(ANY, 30)),
    (Kind::PlanetscaleToken, &["pscale_tkn_", "pscale_pw_", "pscale_oauth_"], Run(ANY, 32)),
    (Kind::NeonKey, &["napi_"], Run(ALNUM, 40)),
    (Kind::CockroachKey, &["CCDB1_"], Run(ANY, 40)),
    (Kind::DatabricksToken, &["dapi"], Run(HEX, 32)),
    (Kind::DatabricksToken, &["dose"], Exactly(HEX, 32)),
    (Kind::CloudflareToken, &["v1.0-"], Run(HEX | DASH, 60)),
    (Kind::CloudflareToken, &["cfut_", "cfat_", "cfk_"], Run(ALNUM, 36)),
    (Kind::TailscaleKey, &["tskey-"], Run(ANY, 16)),
    (Kind::VaultToken, &["hvs.", "hvb.", "hvr."], Run(ANY, 24)),
    (Kind::TerraformToken, &["atlasv1."], Run(ANY, 60)),
    (Kind::DopplerToken, &["dp.st."], Checked(tokens::doppler)),
    (Kind::DopplerToken, &["dp.pt.", "dp.ct.", "dp.sa.", "dp.scim.", "dp.audit."], Run(ANY, 40)),
    (Kind::PulumiToken, &["pul-"], Run(HEX, 40)),
    (Kind::PrefectKey, &["pnu_", "pnb_"], Run(ALNUM, 36)),
    (Kind::InfracostKey, &["ico-"], Run(ALNUM, 32)),
    (Kind::OnepasswordToken, &["ops_eyJ"], Base64(60)),
    (Kind::OnepasswordToken, &["A3-"], Run(CAPITALS, 30)),
    (Kind::AgeKey, &["AGE-SECRET-KEY-1"], Run(UPPER | DIGIT, 50)),
    (Kind::GrafanaToken, &["eyJrIjoi"], Base64(60)),
    (Kind::GrafanaToken, &["glc_"], Base64(32)),
    (Kind::GrafanaToken, &["glsa_"], Run(ANY, 32)),
    (Kind::SentryToken, &["sntrys_"], Base64(40)),
    (Kind::SentryToken, &["sntryu_"], Run(HEX, 60)),
    (Kind::NewrelicKey, &["NRAK-", "NRII-", "NRRA-", "NRSP-"], Run(ANY, 20)),
    (Kind::NewrelicKey, &["NRJS-"], Run(HEX, 19)),
    (Kind::DynatraceToken, &["dt0c01.", "dt0s01.", "dt0s02.", "dt0s16."], Run(ANY, 24)),
    (Kind::HoneycombKey, &["hcaik_", "hcxik_", "hcamk_", "hcxmk_", "hcalk_", "hcxlk_", "hcbik_"], Run(ALNUM, 40)),
    (Kind::SonarToken, &["squ_", "sqp_", "sqa_"], Run(HEX, 40)),
    (Kind::SourcegraphToken, &["sgp_"], Run(ANY, 40)),
    (Kind::BuildkiteToken, &["bkua_", "bkct_"], Run(HEX, 40)),
    (Kind::CircleciToken, &["CCIPAT_", "CCIPRJ_"], Run(ANY, 40)),
    (Kind::ArtifactoryKey, &["AKCp"], Run(ALNUM, 69)),
    (Kind::ArtifactoryKey, &["cmVmdGtuO"], Run(ALNUM, 50)),
    (Kind::OctopusKey, &["API-"], Run(UPPER | DIGIT, 25)),
    (Kind::AtlassianToken, &["ATATT3", "ATCTT3", "ATSTT3"], Base64(60)),
    (Kind::AtlassianToken, &["ATBB"], Run(ALNUM, 24)),
    (Kind::TrelloToken, &["ATTA"], Run(HEX, 60)),
    (Kind::PostmanKey, &["PMAK-"], Run(ANY, 50)),
    (Kind::LinearKey, &["lin_api_", "lin_oauth_"], Run(ALNUM, 32)),
    (Kind::NotionToken, &["ntn_"], Run(ALNUM, 40)),
    (Kind::NotionToken, &["secret_"], Exactly(ALNUM, 43)),
    (Kind::AirtableToken, &["pat"], Checked(airtable)),
    (Kind::FigmaToken, &["figd_", "figo_", "figu_"], Run(ANY, 36)),
    (Kind::ContentfulToken, &["CFPAT-"], Run(ANY, 40)),
    (Kind::TypeformToken, &["tfp_"], Run(ANY, 40)),
    (Kind::ReadmeKey, &["rdme_"], Run(ALNUM, 60)),
    (Kind::DropboxToken, &["sl."], Run(ANY, 100)),
    (Kind::ShopifyToken, &["shpat_", "shpca_", "shppa_", "shpss_"], Run(HEX, 32)),
    (Kind::SquareToken, &["sq0atp-", "sq0csp-"], Run(ANY, 22)),
    (Kind::SquareToken, &["EAAA"], Exactly(ANY, 60)),
    (Kind::PlaidToken, &["access-sandbox-", "access-development-", "access-production-"], Run(HEX | DASH, 36)),
    (Kind::FlutterwaveKey, &["FLWSECK-", "FLWSECK_TEST-"], Run(ANY, 12)),
    (Kind::RazorpayKey, &["rzp_live_", "rzp_test_"], Run(ALNUM, 14)),
    (Kind::EasypostKey, &["EZAK", "EZTK"], Run(ALNUM, 54)),
    (Kind::ShippoToken, &["shippo_live_", "shippo_test_"], Run(HEX, 40)),
    (Kind::DuffelToken, &["duffel_live_", "duffel_test_"], Run(ANY, 40)),
    (Kind::FacebookToken, &["EAA"], Run(ALNUM, 100)),
    (Kind::TwilioKey, &["SK"], Exactly(HEX, 32)),
    (Kind::MailgunKey, &["key-"], Exactly(HEX, 32)),
    (Kind::BrevoKey, &["xkeysib-", "xsmtpsib-"], Run(ANY, 64)),
    (Kind::TelegramToken, &["AA"], Checked(telegram)),
    (Kind::DiscordToken, &["M", "N", "O"], Checked(discord)),
    (Kind::DiscordToken, &["discord.com/api/webhooks/", "discordapp.com/api/webhooks/"], Run(ANY, 17)),
    (Kind::TeamsWebhook, &["webhook.office.com/webhookb2/"], Checked(teams)),
    (Kind::ZohoToken, &["1000."], Run(HEX, 32)),
    (Kind::MapboxToken, &["sk.eyJ", "tk.eyJ"], Run(ANY, 40)),
    (Kind::NvidiaKey, &["nvapi-"], Run(ANY, 40)),
    (Kind::HubspotToken, &["pat-na1-", "pat-na2-", "pat-eu1-", "pat-ap1-"], Run(HEX | DASH, 36)),
    (Kind::ResendKey, &["re_"], Checked(resend)),
    (Kind::PosthogKey, &["phx_"], Run(ALNUM, 40)),
    (Kind::TavilyKey, &["tvly-"], Run(ANY, 24)),
    (Kind::CerebrasKey, &["csk-"], Run(ALNUM, 40)),
    (Kind::TogetherKey, &["tgp_v1_"], Run(ANY, 40)),
    (Kind::FireworksKey, &["fw_"], Run(ALNUM, 22)),
    (Kind::PaddleKey, &["pdl_live_apikey_", "pdl_sdbx_apikey_"], Run(ANY, 40)),
    (Kind::RenderKey, &["rnd_"], Run(ALNUM, 28)),
    (Kind::ScalingoToken, &["tk-us-"], Run(ANY, 48)),
    (Kind::FrameioToken, &["fio-u-"], Run(ANY, 60)),
    (Kind::DefinedKey, &["dnkey-"], Run(ANY, 60)),
    (Kind::LaunchdarklyKey, &["sdk-"], Checked(uuid)),
    (Kind::HarnessToken, &["pat.", "sat."], Checked(harness)),
    (Kind::LangfuseKey, &["sk-lf-"], Run(HEX | DASH, 36)),
    (Kind::SnykToken, &["snyk_uat.", "snyk_sat."], Run(ANY, 8)),
    (Kind::AdafruitKey, &["aio_"], Run(ALNUM, 28)),
    (Kind::AdobeSecret, &["p8e-"], Run(ALNUM | DASH, 32)),
    (Kind::PolarToken, &["polar_oat_", "polar_pat_"], Run(ANY, 32)),
    (Kind::LogfireToken, &["pylf_v1_us_", "pylf_v1_eu_"], Run(ALNUM, 40)),
    (Kind::XataKey, &["xau_"], Run(ALNUM, 30)),
    (Kind::FirecrawlKey, &["fc-"], Exactly(HEX, 32)),
    (Kind::JinaKey, &["jina_"], Run(ANY, 40)),
    (Kind::ApifyToken, &["apify_api_"], Run(ALNUM, 30)),
    (Kind::MatrixToken, &["syt_", "mct_", "mcr_"], Run(ANY, 24)),
    (Kind::Bip32Key, &["xprv9", "yprv", "zprv"], Run(ALNUM, 90)),
    (Kind::BedrockKey, &["ABSK"], Base64(100)),
    (Kind::FirebaseKey, &["APA91b"], Checked(firebase)),
    (Kind::VkToken, &["vk1.a."], Run(ANY, 60)),
    // Of no maker: tokens of OpenStack and Airflow, those that come with a key of AWS for a while, and the secret beside its
    // id; hashes of PgBouncer; what stands in a path behind its word.
    (Kind::Secrets, &["gAAAAA"], Run(ANY, 60)),
    (Kind::Secrets, &["IQoJb3JpZ2lu", "FwoGZXIvYXdz", "FQoGZXIvYXdz"], Base64(60)),
    (Kind::Secrets, &["AKIA", "ASIA"], Checked(beside_id)),
    (Kind::Secrets, &["md5"], Checked(md5)),
    // Private keys in base64, as manifests have them.
    (Kind::Secrets, &["LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0t", "LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBL", "LS0tLS1CRUdJTiBFQyBQUklWQVRFIEtF",
        "LS0tLS1CRUdJTiBPUEVOU1NIIFBSSVZBVEUg", "LS0tLS1CRUdJTiBFTkNSWVBURUQgUFJJ"], Base64(20)),
    // Makers without a kind of their own: Amazon MWS, Riot, Settlemint, 42, ClickHouse, Twitter; tokens of Kubernetes in a header.
    (Kind::Secrets, &["amzn.mws."], Run(HEX | DASH, 36)),
    (Kind::Secrets, &["RGAPI-"], Run(HEX | DASH, 36)),
    (Kind::Secrets, &["sm_pat_", "sm_aat_", "sm_sat_"], Run(ALNUM, 16)),
    (Kind::Secrets, &["s-s4t2ud-", "s-s4t2af-"], Run(HEX, 60)),
    (Kind::Secrets, &["4b1d"], Exactly(ALNUM, 38)),
    (Kind::Secrets, &["AAAAAAAAAAAAAAAAAAAAA"], Checked(twitter)),
    (Kind::Secrets, &["base64url.bearer.authorization.k8s.io."], Run(ANY, 20)),
    (Kind::Secrets, &["password...."], Checked(dots)),
    (Kind::Secrets, &["password/", "passwd/", "token/", "secret/", "reset/"], Checked(in_path)),
];

/// A prefix, ready to be compared.
struct Row {
    prefix: &'static [u8],
    /// Its first four bytes, and ones where it has them.
    head: u32,
    mask: u32,
    body: Body,
    /// Place of its rule in the list given to [`Makers::new`].
    which: u16,
}

/// The prefixes that are looked for, by their first byte.
pub(in crate::transforms::redact) struct Makers {
    rows: Vec<Row>,
    /// Where the rows of a first byte begin; they end where those of the next one do.
    begins: [u16; 257],
    /// By the first byte of a prefix: one bit for each second byte, of which the lower six bits count.
    seconds: [u64; 256],
    /// Of which kind are tokens without a prefix, by what they have elsewhere.
    odd: [Option<u16>; 4],
    /// Of `secrets`, where it is looked for.
    secrets: Option<u16>,
}

/// Kinds whose mark is not at their beginning.
const ODD: [Kind; 4] = [Kind::AzureSecret, Kind::MailchimpKey, Kind::MaxmindKey, Kind::OpenshiftToken];

impl Makers {
    /// Whether tokens of this kind are found here.
    pub(in crate::transforms::redact) fn has(kind: Kind) -> bool {
        ODD.contains(&kind) || (kind != Kind::Secrets && TABLE.iter().any(|t| t.0 == kind))
    }

    /// The finder of those kinds for which `rule` gives a place in the list of rules.
    pub(in crate::transforms::redact) fn new(rule: impl Fn(Kind) -> Option<u16>) -> Self {
        let mut rows = Vec::new();
        for (kind, prefixes, body) in TABLE {
            let Some(which) = rule(*kind) else { continue };
            rows.extend(prefixes.iter().map(|p| {
                let prefix = p.as_bytes();
                let mask = if prefix.len() < 4 { (1 << (8 * prefix.len())) - 1 } else { u32::MAX };
                Row { prefix, head: first_four(prefix), mask, body: *body, which }
            }));
        }
        // The longest first, so that a prefix within another does not hide it.
        rows.sort_by_key(|r| (r.prefix[0], usize::MAX - r.prefix.len()));
        let mut begins = [0; 257];
        for (first, begin) in begins.iter_mut().enumerate() {
            *begin = rows.iter().take_while(|r| usize::from(r.prefix[0]) < first).count() as u16;
        }
        let mut seconds = [0; 256];
        for row in &rows {
            let second = row.prefix.get(1).map_or(u64::MAX, |b| 1 << (b & 63));
            seconds[usize::from(row.prefix[0])] |= second;
        }
        Self { rows, begins, seconds, secrets: rule(Kind::Secrets), odd: ODD.map(rule) }
    }

    /// The leftmost token at or after `from`.
    #[inline(never)]
    pub(in crate::transforms::redact) fn find(&self, text: &[u8], from: usize, marks: &Marks) -> Option<Found> {
        let mut at = from.max(marks.first_token());
        let mut dead = (usize::MAX, 0);
        'window: while let Some(window) = text.get(at..at + LEAST) {
            for k in (0..LEAST).rev() {
                if !is(window[k], TOKEN) {
                    at += k + 1;
                    continue 'window;
                }
            }
            let mut end = at + LEAST;
            let near = text.len().min(at + NEAR);
            while end < near && is(text[end], TOKEN) {
                end += 1;
            }
            if let Some(found) = self.within(text, from, (at, end), &mut dead) {
                return Some(found);
            }
            at = end;
        }
        None
    }

    /// The first token that begins in the run `start..end`.
    fn within(
        &self,
        text: &[u8],
        from: usize,
        (start, end): (usize, usize),
        dead: &mut (usize, usize),
    ) -> Option<Found> {
        let mut at = start;
        while at < end {
            if !is(text[at], ALNUM) {
                at += 1;
                continue;
            }
            let mut whole = true;
            if at > 0 {
                match text[at - 1] {
                    // The letter of an escaped line end is no part of the word behind it.
                    b'\\' => at += usize::from(at + 1 < end && matches!(text[at], b'n' | b'r' | b't')),
                    b => whole = !is(b, ALNUM) || escape_before(text, at),
                }
            }
            if whole && let Some(found) = self.at(text, at, end, dead).filter(|f| f.start >= from) {
                return Some(found);
            }
            at = run(&text[..end], at, ALNUM);
        }
        None
    }

    /// The token at `at`. `dead` is a row, and up to where it is known to have none: so no run is looked at again and again.
    fn at(&self, text: &[u8], at: usize, end: usize, dead: &mut (usize, usize)) -> Option<Found> {
        let first = usize::from(text[at]);
        let second = text.get(at + 1).copied().unwrap_or(0);
        if self.seconds[first] >> (second & 63) & 1 != 0
            && let Some(found) = self.prefixed(text, at, dead)
        {
            return Some(found);
        }
        self.odd(text, at, end)
    }

    /// The token at `at` that one of the prefixes with this first byte begins.
    fn prefixed(&self, text: &[u8], at: usize, dead: &mut (usize, usize)) -> Option<Found> {
        let first = usize::from(text[at]);
        let rest = &text[at..];
        let head = first_four(rest);
        for i in usize::from(self.begins[first])..usize::from(self.begins[first + 1]) {
            let row = &self.rows[i];
            if head & row.mask != row.head || !rest.starts_with(row.prefix) || (dead.0 == i && at < dead.1) {
                continue;
            }
            match body(text, at, at + row.prefix.len(), row.body) {
                Check::Hit(found) => return Some(Found { which: row.which, ..found }),
                Check::Next(next) if next > at + LEAST => *dead = (i, next),
                Check::Next(_) => {}
            }
        }
        None
    }

    /// Tokens with their mark in the middle or at the end.
    #[inline]
    fn odd(&self, text: &[u8], at: usize, run_end: usize) -> Option<Found> {
        let found = |which: u16, end: usize| Some(Found { which, ..Found::plain(at, end) });
        if let Some(which) = self.odd[1]
            && text.get(at + 32) == Some(&b'-')
        {
            // Thirty-two hexadecimal digits and the data centre: `-us12`.
            let end = at + 32;
            if run(&text[..end], at, HEX) == end && text[end..].starts_with(b"-us") && is_at(text, end + 3, DIGIT) {
                return found(which, run(text, end + 3, DIGIT));
            }
        }
        if let Some(which) = self.odd[2]
            && text.get(at + 36) == Some(&b'_')
        {
            let end = at + 40;
            let whole = text.get(at..end).is_some_and(|t| t.ends_with(b"_mmk") && run(t, 0, ANY) == t.len());
            if whole && !is_at(text, end, ANY) {
                return found(which, end);
            }
        }
        // `abc8Q~` and more: the run is what follows the tilde.
        if let Some(which) = self.odd[0]
            && at >= 6
            && text[at - 1] == b'~'
            && text[at - 2] == b'Q'
            && is(text[at - 3], DIGIT)
            && run_end - at >= 30
        {
            return Some(Found { which, ..Found::plain(at - 6, run(text, at, ANY)) });
        }
        if let Some(which) = self.secrets
            && at > 0
            && matches!(text[at - 1], b'$' | b'=')
            && run_end - at >= LEAST
            && let Some(start) = programs::hash_before(text, at)
        {
            let end = run_end
                + text[run_end..].iter().take_while(|&&b| is(b, ANY) || matches!(b, b'.' | b'/' | b'+' | b'=')).count();
            return Some(Found { which, ..Found::plain(start, end) });
        }
        if let Some(which) = self.odd[3]
            && text[..at].ends_with(b"sha256~")
            && run_end - at >= 43
        {
            return Some(Found { which, ..Found::plain(at - 7, run(text, at, ANY)) });
        }
        None
    }
}

/// The first four bytes of a text, zeros behind its end.
#[inline(always)]
fn first_four(text: &[u8]) -> u32 {
    match text.first_chunk() {
        Some(four) => u32::from_le_bytes(*four),
        None => text.iter().rev().fold(0, |all, &b| all << 8 | u32::from(b)),
    }
}

/// The token with its prefix at `at`, if `start`, behind the prefix, has what it must have.
fn body(text: &[u8], at: usize, start: usize, body: Body) -> Check {
    let more = |b: u8| is(b, ANY) || matches!(b, b'+' | b'/' | b'=');
    match body {
        Checked(check) => check(text, Span { start: at, end: start }),
        Run(classes, least) => {
            let all = text.get(start..start + least).is_some_and(|t| t.iter().all(|&b| is(b, classes)));
            if !all || !random(&text[start..]) {
                return Check::Next(at);
            }
            // What the classes leave out may be in the rest: more is masked, not less.
            let mut end = run(text, start + least, ANY);
            while matches!(text.get(end), Some(b'.' | b'=' | b'/')) && is_at(text, end + 1, ALNUM) {
                end = run(text, end + 1, ANY);
            }
            Check::hit(at, end)
        }
        Exactly(classes, size) => {
            let end = run(&text[..text.len().min(start + size + 1)], start, classes);
            let exact = end - start == size && !is_at(text, end, ALNUM) && random(&text[start..end]);
            if exact { Check::hit(at, end) } else { Check::Next(at) }
        }
        Base64(least) => {
            let all = text.get(start..start + least).is_some_and(|t| t.iter().all(|&b| more(b)));
            if !all || !random(&text[start..]) {
                return Check::Next(at);
            }
            Check::hit(at, start + text[start..].iter().take_while(|&&b| more(b)).count())
        }
    }
}

/// Whether what begins here is no word: it has a digit, or letters of both cases.
fn random(text: &[u8]) -> bool {
    const ENOUGH: usize = 256;
    let (mut upper, mut lower) = (false, false);
    for &b in text.iter().take(ENOUGH).take_while(|&&b| is(b, ANY) || matches!(b, b'+' | b'/' | b'=')) {
        if is(b, DIGIT) {
            return true;
        }
        upper |= is(b, UPPER);
        lower |= is(b, LOWER);
    }
    upper && lower
}

/// A server key, with the number of the sender and a colon before it.
fn firebase(text: &[u8], at: Span) -> Check {
    let end = run(text, at.end, ANY);
    let sender = text[..at.start]
        .strip_suffix(b":")
        .map_or(at.start, |head| run_back(head, head.len().saturating_sub(16), head.len(), ANY));
    if end - at.end >= 100 { Check::hit(sender, end) } else { Check::Next(end) }
}

/// The secret access key in the same line as its id.
fn beside_id(text: &[u8], at: Span) -> Check {
    let id = text.get(at.start..at.start + 20).is_some_and(|k| k.iter().all(|&b| is(b, UPPER | DIGIT)));
    match programs::behind_key_id(text, at.start).filter(|_| id) {
        Some(found) => Check::Hit(found),
        None => Check::Next(at.end),
    }
}

/// `md5` and thirty-two hexadecimal digits in quotes.
fn md5(text: &[u8], at: Span) -> Check {
    let end = run(&text[..text.len().min(at.end + 33)], at.end, HEX);
    let quoted =
        at.start > 0 && matches!(text[at.start - 1], b'"' | b'\'') && text.get(end) == Some(&text[at.start - 1]);
    if end - at.end == 32 && quoted { Check::hit(at.start, end) } else { Check::Next(at.end) }
}

/// Twenty-one or a few more `A` and fifty characters at least; more of the former are zeros of something else in base64.
fn twitter(text: &[u8], at: Span) -> Check {
    let zeros = text[at.end..].iter().take(8).take_while(|&&b| b == b'A').count();
    let end = at.end + text[at.end..].iter().take(160).take_while(|&&b| is(b, ALNUM) || b == b'%').count();
    let apart = at.start == 0 || !matches!(text[at.start - 1], b'/' | b'+');
    let over = !matches!(text.get(end), Some(b'/' | b'+' | b'='));
    if zeros < 4 && apart && over && end - at.end >= 50 { Check::hit(at.start, end) } else { Check::Next(end) }
}

/// What stands behind dots.
fn dots(text: &[u8], at: Span) -> Check {
    match programs::behind_dots(text, at.end) {
        Some(found) => Check::Hit(found),
        None => Check::Next(at.end),
    }
}

/// What stands in a path behind `password/` and the like.
fn in_path(text: &[u8], at: Span) -> Check {
    match programs::in_path(text, at.start, at.end) {
        Some(found) => Check::Hit(found),
        None => Check::Next(at.end),
    }
}

/// `pat`, fourteen characters, a dot and sixty-four hexadecimal digits.
fn airtable(text: &[u8], at: Span) -> Check {
    let dot = run(text, at.end, ALNUM);
    if dot - at.end == 14 && text.get(dot) == Some(&b'.') {
        let end = run(text, dot + 1, HEX);
        if end - dot > 60 {
            return Check::hit(at.start, end);
        }
    }
    Check::Next(at.end)
}

/// `re_`, eight characters, `_` and twenty more at least.
fn resend(text: &[u8], at: Span) -> Check {
    let first = run(text, at.end, ALNUM);
    let end = if text.get(first) == Some(&b'_') { run(text, first + 1, ANY) } else { first };
    let whole = first - at.end == 8 && end - first > 20 && random(&text[at.end..end]);
    if whole { Check::hit(at.start, end) } else { Check::Next(at.end) }
}

/// A UUID and no more.
fn uuid(text: &[u8], at: Span) -> Check {
    let end = run(text, at.end, ANY);
    let dashes = |(i, &b): (usize, &u8)| if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { is(b, HEX) };
    let whole = end - at.end == 36 && text[at.end..end].iter().enumerate().all(dashes);
    if whole { Check::hit(at.start, end) } else { Check::Next(at.end) }
}

/// An account, a number and what is secret, with dots between: 22, 24 and 20 characters.
fn harness(text: &[u8], at: Span) -> Check {
    let first = run(text, at.end, ANY);
    let second = run(text, (first + 1).min(text.len()), ALNUM);
    let end = run(text, (second + 1).min(text.len()), ALNUM);
    let dots = text.get(first) == Some(&b'.') && text.get(second) == Some(&b'.');
    let whole = dots && first - at.end == 22 && second - first == 25 && end - second == 21;
    if whole { Check::hit(at.start, end) } else { Check::Next(at.end) }
}

/// The number of a bot, a colon and thirty-five characters.
fn telegram(text: &[u8], at: Span) -> Check {
    let digits = text[..at.start].strip_suffix(b":").unwrap_or(b"");
    let count = digits.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let end = run(&text[..text.len().min(at.start + 48)], at.start, ANY);
    if (6..=12).contains(&count) && (33..=40).contains(&(end - at.start)) {
        return Check::hit(digits.len() - count, end);
    }
    Check::Next(at.end)
}

/// Numbers of a group and a tenant, and the key behind them.
fn teams(text: &[u8], at: Span) -> Check {
    let end = at.end + text[at.end..].iter().take_while(|&&b| is(b, ANY) || matches!(b, b'@' | b'/')).count();
    if end - at.end >= 30 { Check::hit(at.start, end) } else { Check::Next(at.end) }
}

/// Three parts in base64url: the number of a user, a time and a check.
fn discord(text: &[u8], at: Span) -> Check {
    let text = &text[..text.len().min(at.start + 90)];
    let first = run(text, at.start, ANY);
    let second = run(text, (first + 1).min(text.len()), ANY);
    let third = run(text, (second + 1).min(text.len()), ANY);
    let dots = text.get(first) == Some(&b'.') && text.get(second) == Some(&b'.');
    let sizes = (23..=28).contains(&(first - at.start))
        && second.saturating_sub(first) == 7
        && (28..=42).contains(&third.saturating_sub(second));
    if dots && sizes { Check::hit(at.start, third) } else { Check::Next(at.end) }
}
