// MKL asks whether the CPU is Intel's before it picks its kernels, and takes generic ones if not. Preloaded into one process, these two
// answers make it go by what the CPU can do.
int mkl_serv_intel_cpu(void) { return 1; }
int mkl_serv_intel_cpu_true(void) { return 1; }
