# The words that people use; each is a thin name for a preset or a script.
.PHONY: build demo test test-versions test-tsan soak bench format lint clean

build:
	scripts/deps
	cmake --preset release -DCMAKE_CXX_FLAGS="-g1 -O2" -DWALBROOK_DEVELOPER=OFF -B build
	cmake --build build

demo:
	scripts/demo

test:
	scripts/test

test-versions:
	scripts/test --versions

test-tsan:
	scripts/test --tsan

soak:
	scripts/test --soak

bench:
	scripts/bench

format:
	scripts/format

lint:
	scripts/lint

clean:
	rm -rf build
