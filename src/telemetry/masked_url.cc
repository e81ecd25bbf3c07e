#include "telemetry/masked_url.h"

#include "telemetry/log.h"

namespace walbrook {

std::string url_without_secrets(std::string_view url) {
    std::string masked(url);
    const std::size_t scheme = masked.find("://");
    const std::size_t host = masked.rfind('@');
    if (scheme != std::string::npos && host != std::string::npos) {
        const std::size_t colon = masked.find(':', scheme + 3);
        if (colon < host) masked.replace(colon + 1, host - colon - 1, "***");
    }
    return without_secrets(masked);
}

}  // namespace walbrook
