def run_core_benchmark(*, messages, seed):
    return {}
