"""Run every benchmark with its defaults (`make bench`)."""

from benchmarks import coding, sampling, startup, train_epoch

__all__: list[str] = []

if __name__ == "__main__":
    startup.main([])
    train_epoch.main([])
    coding.main([])
    sampling.main([])
