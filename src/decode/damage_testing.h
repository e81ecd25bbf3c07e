#pragma once

#include <cstddef>
#include <random>
#include <string>
#include <string_view>

// Damaged bytes for the tests of this folder.
namespace walbrook {

// Prints a case that failed, for hex() to read again.
inline std::string to_hex(std::string_view bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string out;
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        out += kDigits[byte >> 4];
        out += kDigits[byte & 15];
    }
    return out;
}

// Changes some bytes, their number, or their order. The same seed gives the same damage
// everywhere: std::mt19937 is specified to the bit, the standard distributions are not.
class Damager {
 public:
    explicit Damager(std::mt19937::result_type seed) : random_(seed) {}

    std::string damage(std::string bytes) {
        const std::size_t edits = 1 + below(4);
        for (std::size_t i = 0; i < edits; ++i) edit(bytes);
        return bytes;
    }

 private:
    std::size_t below(std::size_t end) { return end == 0 ? 0 : random_() % end; }

    // Half of them bytes that mean something in one of the forms: ends of numbers,
    // signs, digits, quotes and marks.
    char byte() {
        constexpr char kTelling[] =
            "\x00\x01\x02\x03\x7f\x80\xff"
            "0019-+.:/,;{}()[]\"\\\\ \t\n\r\bNLtfnubaKO";
        return below(2) == 0 ? kTelling[below(sizeof kTelling - 1)] : static_cast<char>(random_());
    }

    void edit(std::string& bytes) {
        const std::size_t at = below(bytes.size() + 1);
        const std::size_t size = 1 + below(4);
        switch (below(5)) {
            case 0:
                for (std::size_t i = at; i < bytes.size() && i < at + size; ++i) bytes[i] = byte();
                return;
            case 1:
                for (std::size_t i = 0; i < size; ++i) bytes.insert(at, 1, byte());
                return;
            case 2:
                bytes.erase(at, size);
                return;
            case 3:  // Repeats a piece.
                bytes.insert(at, bytes.substr(below(bytes.size() + 1), 2 * size));
                return;
            default:  // Moves a piece over another.
                bytes.replace(at, size, bytes.substr(below(bytes.size() + 1), size));
                return;
        }
    }

    std::mt19937 random_;
};

// Tries `bytes` themselves, every cut of them, every change of one bit, and so many
// changes of several bytes.
template <class Try>
void for_each_damage(const std::string& bytes, int mutations, const Try& attempt) {
    attempt(bytes);
    for (std::size_t n = 0; n < bytes.size(); ++n) attempt(bytes.substr(0, n));
    for (std::size_t n = 0; n < bytes.size(); ++n) {
        for (int bit = 0; bit < 8; ++bit) {
            std::string damaged = bytes;
            damaged[n] = static_cast<char>(damaged[n] ^ 1 << bit);
            attempt(damaged);
        }
    }
    Damager damager(20'240'229);
    for (int i = 0; i < mutations; ++i) attempt(damager.damage(bytes));
}

}  // namespace walbrook
