# Names for what is run most. The commands themselves stand in scripts/run_tests.sh, which makes the environment too.
.PHONY: check test-fast test test-long bench

check: ## ruff, mypy, shellcheck, hadolint
	./scripts/run_tests.sh --check

test-fast: ## rules and small parts, about 20 seconds
	./scripts/run_tests.sh --fast

test: ## everything but what takes long
	./scripts/run_tests.sh

test-long: ## what takes long
	./scripts/run_tests.sh --long

bench: .venv-test/.installed ## what can be measured without a GPU: about three minutes, on a quiet machine
	.venv-test/bin/python -m scripts.benchmarks.opus
	.venv-test/bin/python -m scripts.benchmarks.s2s --sessions 20,60,100 --seconds 12
	.venv-test/bin/python -m scripts.benchmarks.s2s --engine embedded --rounds 3
	.venv-test/bin/python -m scripts.benchmarks.asr --clients 1,4,16 --requests 2
	.venv-test/bin/python -m scripts.benchmarks.tts --requests 10

.venv-test/.installed:
	./scripts/run_tests.sh --check
