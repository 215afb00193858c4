//! The built-in table: the browsers, systems, devices and robots that make up nearly all traffic.
//!
//! The first pattern that matches counts, so what names itself in addition to a base (`Edg/` beside `Chrome/`) stands before
//! that base. Parts are templates with `$1` to `$9` for groups. Device patterns ignore case.

/// Browsers, applications and robots: family, major, minor, patch.
pub(super) const BROWSERS: &[(&str, [&str; 4])] = &[
    // Robots.
    (r"(Googlebot(?:-Image|-Video|-News|-Mobile)?)/(\d+)\.(\d+)", ["$1", "$2", "$3", ""]),
    (
        r"(Googlebot|AdsBot-Google(?:-Mobile)?|Mediapartners-Google|Google-InspectionTool|GoogleOther|APIs-Google|FeedFetcher-Google|Google-Read-Aloud)(?:[-/; ](\d+)(?:\.(\d+))?)?",
        ["$1", "$2", "$3", ""],
    ),
    (
        r"(bingbot|BingPreview|adidxbot|msnbot|DuckDuckBot|YandexBot|YandexImages|YandexMobileBot|YandexMetrika|Baiduspider|Sogou web spider|360Spider|Bytespider|PetalBot|SeznamBot|Applebot|facebookexternalhit|meta-externalagent|FacebookBot|Twitterbot|LinkedInBot|Pinterestbot|Slackbot-LinkExpanding|Slackbot|TelegramBot|Discordbot|redditbot|AhrefsBot|SemrushBot|MJ12bot|DotBot|BLEXBot|DataForSeoBot|rogerbot|GPTBot|ChatGPT-User|OAI-SearchBot|ClaudeBot|Claude-Web|anthropic-ai|PerplexityBot|CCBot|Amazonbot|archive\.org_bot|ia_archiver|UptimeRobot|Pingdom\.com_bot|StatusCake|Site24x7|NewRelicPinger|Datadog/Synthetics|Screaming Frog SEO Spider|HeadlessChrome|PhantomJS|masscan|zgrab|Nmap Scripting Engine|Nikto|sqlmap|CensysInspect|Expanse)(?:[/ v]+(\d+)(?:\.(\d+))?(?:\.(\d+))?)?",
        ["$1", "$2", "$3", "$4"],
    ),
    (r"Yahoo! Slurp", ["Yahoo! Slurp", "", "", ""]),
    (r"WhatsApp/(\d+)\.(\d+)(?:\.(\d+))?", ["WhatsApp", "$1", "$2", "$3"]),
    (
        r"(kube-probe|ELB-HealthChecker|GoogleHC|Prometheus|Grafana|Blackbox Exporter|Consul Health Check|HAProxy)/(\d+)?(?:\.(\d+))?(?:\.(\d+))?",
        ["$1", "$2", "$3", "$4"],
    ),
    // Libraries and tools.
    (
        r"^(curl|Wget|HTTPie|python-requests|python-httpx|aiohttp|Python-urllib|okhttp|axios|node-fetch|undici|got|superagent|Go-http-client|Apache-HttpClient|Java|Jersey|Faraday|Ruby|GuzzleHttp|libwww-perl|lua-resty-http|PostmanRuntime|insomnia|k6|Vegeta|ApacheBench|git|Docker-Client|docker|containerd|Helm|kubectl|Terraform|aws-cli|aws-sdk-\w+|Boto3|Dart|reqwest|hyper|ureq|RestSharp|elasticsearch-\w+|Vector|Fluent-Bit|Logstash|Filebeat|Telegraf|GoAccess)[/ ]v?(\d+)(?:\.(\d+))?(?:\.(\d+))?",
        ["$1", "$2", "$3", "$4"],
    ),
    (
        r"\b(python-requests|aiohttp|okhttp|Scrapy|Apache-HttpClient|Alamofire|Go-http-client|libwww-perl|node-fetch)/(\d+)(?:\.(\d+))?(?:\.(\d+))?",
        ["$1", "$2", "$3", "$4"],
    ),
    // Applications with a browser inside.
    (r"\[?FBA[NV]/", ["Facebook", "", "", ""]),
    (r"Instagram (\d+)\.(\d+)\.(\d+)", ["Instagram", "$1", "$2", "$3"]),
    (r"MicroMessenger/(\d+)\.(\d+)(?:\.(\d+))?", ["WeChat", "$1", "$2", "$3"]),
    (r"\bGSA/(\d+)\.(\d+)\.(\d+)", ["Google", "$1", "$2", "$3"]),
    (
        r"(Line|Snapchat|Pinterest|TikTok|musical_ly|Electron|Slack|Discord|Postman|Thunderbird)/(\d+)\.(\d+)(?:\.(\d+))?",
        ["$1", "$2", "$3", "$4"],
    ),
    // Browsers that are more than their base.
    (r"(?:Edg|EdgA|EdgiOS)/(\d+)(?:\.(\d+))?(?:\.(\d+))?", ["Edge", "$1", "$2", "$3"]),
    (r"Edge/(\d+)(?:\.(\d+))?", ["Edge", "$1", "$2", ""]),
    (
        r"OPR/(\d+)\.(\d+)(?:\.(\d+))?.* Mobile|Mobile.* OPR/(\d+)\.(\d+)(?:\.(\d+))?",
        ["Opera Mobile", "$1$4", "$2$5", "$3$6"],
    ),
    (r"OPR/(\d+)\.(\d+)(?:\.(\d+))?", ["Opera", "$1", "$2", "$3"]),
    (r"OPiOS/(\d+)\.(\d+)(?:\.(\d+))?", ["Opera Mini", "$1", "$2", "$3"]),
    (r"Opera Mini/(\d+)\.(\d+)", ["Opera Mini", "$1", "$2", ""]),
    (r"Opera (?:Mobi|Tablet).*Version/(\d+)\.(\d+)", ["Opera Mobile", "$1", "$2", ""]),
    (r"Opera/.*Version/(\d+)\.(\d+)", ["Opera", "$1", "$2", ""]),
    (r"Opera[/ ](\d+)\.(\d+)", ["Opera", "$1", "$2", ""]),
    (r"(?:SamsungBrowser)/(\d+)\.(\d+)(?:\.(\d+))?", ["Samsung Internet", "$1", "$2", "$3"]),
    (
        r"(Vivaldi|YaBrowser|UCBrowser|Whale|QQBrowser|MQQBrowser|MiuiBrowser|HuaweiBrowser|VivoBrowser|HeyTapBrowser|DuckDuckGo|Brave|Silk|Puffin|Maxthon|Iron|Sleipnir|Epiphany|Konqueror|Falkon|QupZilla|Midori|SeaMonkey|Waterfox|Focus|Klar|Ddg)/(\d+)(?:\.(\d+))?(?:\.(\d+))?",
        ["$1", "$2", "$3", "$4"],
    ),
    (r"PaleMoon/(\d+)\.(\d+)(?:\.(\d+))?", ["Pale Moon", "$1", "$2", "$3"]),
    (r"CriOS/(\d+)(?:\.(\d+))?(?:\.(\d+))?", ["Chrome Mobile iOS", "$1", "$2", "$3"]),
    (r"FxiOS/(\d+)\.(\d+)(?:\.(\d+))?", ["Firefox iOS", "$1", "$2", "$3"]),
    (r"; wv\).*Chrome/(\d+)\.(\d+)(?:\.(\d+))?", ["Chrome Mobile WebView", "$1", "$2", "$3"]),
    (r"Version/\d+\.\d+.* Chrome/(\d+)\.(\d+)(?:\.(\d+))?", ["Chrome Mobile WebView", "$1", "$2", "$3"]),
    (r"Chromium/(\d+)\.(\d+)(?:\.(\d+))?", ["Chromium", "$1", "$2", "$3"]),
    (r"Chrome/(\d+)\.(\d+)(?:\.(\d+))?[\d.]* Mobile", ["Chrome Mobile", "$1", "$2", "$3"]),
    (r"(?:Chrome|CrMo)/(\d+)\.(\d+)(?:\.(\d+))?", ["Chrome", "$1", "$2", "$3"]),
    (r"(?:Mobile|Tablet);.* Firefox/(\d+)\.(\d+)(?:\.(\d+))?", ["Firefox Mobile", "$1", "$2", "$3"]),
    (r"Firefox/(\d+)\.(\d+)(?:\.(\d+))?", ["Firefox", "$1", "$2", "$3"]),
    (r"(?:BlackBerry|BB10).* Version/(\d+)\.(\d+)(?:\.(\d+))?.* Safari/", ["BlackBerry WebKit", "$1", "$2", "$3"]),
    (r"Android (\d+)(?:\.(\d+))?(?:\.(\d+))?.* Version/[\d.]+.* Safari/", ["Android", "$1", "$2", "$3"]),
    (r"(?:iPhone|iPod|iPad).* Version/(\d+)\.(\d+)(?:\.(\d+))?.* Safari/", ["Mobile Safari", "$1", "$2", "$3"]),
    (
        r"(?:iPhone|iPod|iPad);.* OS (\d+)_(\d+)(?:_(\d+))?.* AppleWebKit/[\d.]+ \(KHTML, like Gecko\)(?: Mobile/\w+)?$",
        ["Mobile Safari UI/WKWebView", "$1", "$2", "$3"],
    ),
    (r"Version/(\d+)\.(\d+)(?:\.(\d+))?.* Safari/", ["Safari", "$1", "$2", "$3"]),
    (r"Trident/7\.0.*rv:(\d+)\.(\d+)", ["IE", "$1", "$2", ""]),
    (r"IEMobile[ /](\d+)\.(\d+)", ["IE Mobile", "$1", "$2", ""]),
    (r"MSIE 7\.0.* Trident/7\.0", ["IE", "11", "0", ""]),
    (r"MSIE 7\.0.* Trident/6\.0", ["IE", "10", "0", ""]),
    (r"MSIE 7\.0.* Trident/5\.0", ["IE", "9", "0", ""]),
    (r"MSIE 7\.0.* Trident/4\.0", ["IE", "8", "0", ""]),
    (r"MSIE (\d+)\.(\d+)", ["IE", "$1", "$2", ""]),
    (r"(Lynx|w3m|Links|ELinks|NetSurf|Dillo)[/ (]+(\d+)\.(\d+)(?:\.(\d+))?", ["$1", "$2", "$3", "$4"]),
    // Robots that say no more than that.
    (
        r"([A-Za-z][A-Za-z0-9_-]*(?:[Bb]ot|[Ss]pider|[Cc]rawler))(?:[/ v]+(\d+)(?:\.(\d+))?(?:\.(\d+))?)?",
        ["$1", "$2", "$3", "$4"],
    ),
    // What is left says who it is at its beginning, unless it only claims to be like everyone else.
    (r"^(?:Mozilla|Opera|UCWEB|JUC|Dalvik)\b", ["Other", "", "", ""]),
    (
        r"^([A-Za-z][A-Za-z0-9_.+]*(?:[ -][A-Za-z][A-Za-z0-9_.+]*)*)[/ ]v?(\d+)(?:\.(\d+))?(?:\.(\d+))?",
        ["$1", "$2", "$3", "$4"],
    ),
];

/// Operating systems: family, major, minor, patch.
pub(super) const SYSTEMS: &[(&str, [&str; 4])] = &[
    (r"Windows Phone(?: OS)?[ /](\d+)\.(\d+)", ["Windows Phone", "$1", "$2", ""]),
    (r"Windows NT 10\.0", ["Windows", "10", "", ""]),
    (r"Windows NT 6\.3", ["Windows", "8", "1", ""]),
    (r"Windows NT 6\.2", ["Windows", "8", "", ""]),
    (r"Windows NT 6\.1", ["Windows", "7", "", ""]),
    (r"Windows NT 6\.0", ["Windows", "Vista", "", ""]),
    (r"Windows NT 5\.[12]|Windows XP", ["Windows", "XP", "", ""]),
    (r"Windows NT 5\.0", ["Windows", "2000", "", ""]),
    (r"Xbox", ["Xbox OS", "", "", ""]),
    (r"Win(?:dows)? ?(95|98|ME|CE)", ["Windows", "$1", "", ""]),
    (r"Windows|Win(?:32|64)", ["Windows", "", "", ""]),
    (r"\((?:iPhone|iPad|iPod)[^;)]*;[^)]* OS (\d+)[_.](\d+)(?:[_.](\d+))?", ["iOS", "$1", "$2", "$3"]),
    (r"HarmonyOS(?:[ /](\d+)(?:\.(\d+))?)?", ["HarmonyOS", "$1", "$2", ""]),
    (r"Tizen[ /](\d+)\.(\d+)", ["Tizen", "$1", "$2", ""]),
    (r"KAIOS/(\d+)\.(\d+)(?:\.(\d+))?", ["KaiOS", "$1", "$2", "$3"]),
    (r"(?:Web0S|webOS|hpwOS)(?:[/ .](?:TV/)?(\d+)\.(\d+)(?:\.(\d+))?)?", ["webOS", "$1", "$2", "$3"]),
    (r"Android[ \-/]?v?(\d+)(?:\.(\d+))?(?:\.(\d+))?", ["Android", "$1", "$2", "$3"]),
    (r"Android", ["Android", "", "", ""]),
    (r"(?:watchOS|Watch OS)[ /](\d+)\.(\d+)(?:\.(\d+))?", ["WatchOS", "$1", "$2", "$3"]),
    (r"(?:tvOS|AppleTV[^/]*)[ /](\d+)\.(\d+)(?:\.(\d+))?", ["tvOS", "$1", "$2", "$3"]),
    (
        r"(?:CPU (?:iPhone )?OS|iPhone OS|iPad OS|[ ;(]iOS|iPadOS|iP[hd] OS)[ /](\d+)[_.](\d+)(?:[_.](\d+))?",
        ["iOS", "$1", "$2", "$3"],
    ),
    (r"iPhone|iPad|iPod", ["iOS", "", "", ""]),
    (r"Mac ?OS X (\d+)[_.](\d+)(?:[_.](\d+))?", ["Mac OS X", "$1", "$2", "$3"]),
    (r"Mac ?OS ?X|Macintosh|Darwin/", ["Mac OS X", "", "", ""]),
    (r"CrOS [a-z0-9_]+ (\d+)\.(\d+)(?:\.(\d+))?", ["Chrome OS", "$1", "$2", "$3"]),
    (r"(PlayStation \d|PlayStation Vita|Nintendo \w+|Roku)(?:[ /](\d+)\.(\d+))?", ["$1", "$2", "$3", ""]),
    (
        r"(Ubuntu|Debian|Fedora|Red Hat|CentOS|SUSE|Gentoo|Arch Linux|Mint|Slackware|Alpine)(?:[ /-](\d+)\.(\d+)(?:\.(\d+))?)?",
        ["$1", "$2", "$3", "$4"],
    ),
    (
        r"(FreeBSD|OpenBSD|NetBSD|DragonFly|SunOS|AIX|HP-UX|Haiku|Fuchsia)(?:[ /](\d+)\.(\d+)(?:\.(\d+))?)?",
        ["$1", "$2", "$3", "$4"],
    ),
    (r"[Ll]inux|X11|os/linux", ["Linux", "", "", ""]),
    (r"(?i:os/macos|GOOS/darwin)", ["Mac OS X", "", "", ""]),
    (r"(?:BlackBerry|BB10).* Version/(\d+)\.(\d+)(?:\.(\d+))?", ["BlackBerry OS", "$1", "$2", "$3"]),
    (r"BlackBerry|BB10", ["BlackBerry OS", "", "", ""]),
    (r"Symbian|SymbOS|Series ?60|S60", ["Symbian OS", "", "", ""]),
];

/// Devices: family, brand, model.
pub(super) const DEVICES: &[(&str, [&str; 3])] = &[
    (
        r"bot\b|bot[/;) _-]|spider|crawl|slurp|facebookexternalhit|mediapartners-google|apis-google|bingpreview|ia_archiver|headlesschrome|phantomjs|uptimerobot|pingdom|masscan|zgrab|nikto|sqlmap|censysinspect|kube-probe|elb-healthchecker|googlehc|feedfetcher",
        ["Spider", "Spider", "Desktop"],
    ),
    (r"iphone(\d+,\d+)", ["iPhone$1", "Apple", "iPhone$1"]),
    (r"ipad(\d+,\d+)", ["iPad$1", "Apple", "iPad$1"]),
    (r"watch(\d+,\d+)", ["Apple Watch", "Apple", "Watch$1"]),
    (r"ipad", ["iPad", "Apple", "iPad"]),
    (r"ipod", ["iPod", "Apple", "iPod"]),
    (r"iphone", ["iPhone", "Apple", "iPhone"]),
    (r"appletv|apple tv", ["AppleTV", "Apple", "AppleTV"]),
    (r"macintosh|mac os x|mac_powerpc", ["Mac", "Apple", "Mac"]),
    (r"xbox one|xbox series|xbox", ["Xbox", "Microsoft", "Xbox"]),
    (r"(playstation(?: \d| vita)?)", ["$1", "Sony", "$1"]),
    (r"nintendo (switch|wiiu|wii|3ds)", ["Nintendo $1", "Nintendo", "$1"]),
    (r"(kindle|kf[a-z]{3,4})\b.* (?:build|silk)", ["Kindle", "Amazon", "$1"]),
    (r"(aft[a-z]{1,4})\b", ["Fire TV", "Amazon", "$1"]),
    (r"(quest(?: \d| pro)?)\b.*oculusbrowser", ["Oculus $1", "Oculus", "$1"]),
    (r"android.*; ?(pixel [^;/)]+?)(?: build|[;)])", ["$1", "Google", "$1"]),
    (r"android.*; ?(nexus [^;/)]+?)(?: build|[;)])", ["$1", "Google", "$1"]),
    (r"android.*; ?(?:samsung[ _-])?((?:sm|gt|sch|sgh|sph|shv|sc)-[a-z0-9]+)", ["Samsung $1", "Samsung", "$1"]),
    (r"android.*; ?(?:huawei[ _-]?)((?:[a-z]{2,4}-)?[a-z0-9]+)", ["Huawei $1", "Huawei", "$1"]),
    (
        r"android.*; ?((?:redmi|poco|mi|mix|m20\d\d|2[0-9]{3,}[a-z0-9]+)[^;/)]*?)(?: miui| build|[;)])",
        ["XiaoMi $1", "XiaoMi", "$1"],
    ),
    (
        r"android.*; ?(?:oneplus[ _]?)?((?:one ?plus|oneplus|a[035]\d{3}|kb20\d\d|le21\d\d|ne22\d\d|in20\d\d|hd19\d\d|gm19\d\d)[^;/)]*?)(?: build|[;)])",
        ["OnePlus $1", "OnePlus", "$1"],
    ),
    (r"android.*; ?(?:oppo[ _]?)?(cph\d{4}|p[a-z]{3}\d0)", ["Oppo $1", "Oppo", "$1"]),
    (r"android.*; ?(rmx\d{4})", ["Realme $1", "Realme", "$1"]),
    (r"android.*; ?(?:vivo[ _])?(v\d{4}[a-z]*|vivo [^;/)]+?)(?: build|[;)])", ["Vivo $1", "Vivo", "$1"]),
    (r"android.*; ?((?:moto|motorola|xt\d{4})[^;/)]*?)(?: build|[;)])", ["Motorola $1", "Motorola", "$1"]),
    (r"android.*; ?(?:lge?[ /_-])((?:lm|l|vs|us)?-?[a-z0-9]+)", ["LG $1", "LG", "$1"]),
    (r"android.*; ?(?:htc[ _/-]?)([^;/)]+?)(?: build|[;)])", ["HTC $1", "HTC", "$1"]),
    (
        r"android.*; ?(?:sony ?(?:ericsson)?[ _-]?)?((?:xperia|so-|xq-|[a-z]\d{4}\b|[e-g]\d{4}\b)[^;/)]*?)(?: build|[;)])",
        ["Sony $1", "Sony", "$1"],
    ),
    (r"android.*; ?(?:nokia[ _]?)((?:ta-|\d)[^;/)]*?)(?: build|[;)])", ["Nokia $1", "Nokia", "$1"]),
    (r"android.*; ?(?:lenovo[ _]?)([^;/)]+?)(?: build|[;)])", ["Lenovo $1", "Lenovo", "$1"]),
    (r"android.*; ?(?:asus[ _]?)([^;/)]+?)(?: build|[;)])", ["Asus $1", "Asus", "$1"]),
    (r"android [\d.]+; k\)", ["K", "Generic", "K"]),
    (r"android.*; ?([^;/)]+?) build", ["$1", "Generic_Android", "$1"]),
    (r"android [\d.]+; ([^;/)]+)\)", ["$1", "Generic_Android", "$1"]),
    (r"android.*(?:mobile|version/.*mobile)", ["Generic Smartphone", "Generic", "Smartphone"]),
    (r"android", ["Generic Tablet", "Generic", "Tablet"]),
    (r"(?:lumia[ _])(\d+\w*)", ["Lumia $1", "Nokia", "Lumia $1"]),
    (r"blackberry ?(\d+\w*)|bb10; (\w+)", ["BlackBerry $1$2", "BlackBerry", "$1$2"]),
    (
        r"(?:smart-?tv|smarttv|hbbtv|web0s|bravia|roku|crkey|appletv|viera|netcast)",
        ["Generic Smart TV", "Generic", "Smart TV"],
    ),
    (
        r"(?:mobile|tablet);.*firefox|opera mini|opera mobi|windows phone|iemobile|kaios|j2me|midp|symbian",
        ["Generic Smartphone", "Generic", "Smartphone"],
    ),
];
