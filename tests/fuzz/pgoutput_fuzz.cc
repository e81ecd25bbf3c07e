#include "decode/pgoutput_frames_testing.h"
#include "decode/properties_testing.h"
#include "fuzz/fuzz.h"

// Frames of pgoutput: refused, or encoded back to the same bytes.
namespace walbrook::fuzz {

void run(std::string_view bytes) {
    Input input(bytes);
    const bool in_stream = input.choose(2) == 1;
    expect_frame_encodes_back(input.rest(), in_stream);
}

std::size_t memory_factor() { return kBytesOfAny; }

std::vector<std::string> seeds() {
    std::vector<std::string> out;
    for (const Frame& frame : kFrames)
        out.push_back(choice(frame.in_stream ? 1 : 0) + hex(frame.hex));
    return out;
}

}  // namespace walbrook::fuzz
