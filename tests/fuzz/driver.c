/* libFuzzer around one Python function: `run` of the module fuzz.$FUZZ_TARGET, called with each input.

   In: inputs from libFuzzer, the interpreter of a virtual environment in $FUZZ_PYTHON.  Out: an abort when `run` raises.
   The function gets a read-only memoryview of libFuzzer's own copy, which ends at a red zone: a read behind the input is
   seen, also by one byte.  It must not keep the view.  What is measured are the edges of the compiled modules, and where
   the target's module has TRACED = True the lines of the Python modules beside them, which takes time for every line. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNTERS 16384 /* a power of two */

/* libFuzzer looks at this section as it does at the counters of edges. */
__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t lines[COUNTERS];

static PyObject *run;
static const char *modules; /* folder of the Python modules whose lines count */

static void give_up(const char *what)
{
    if (PyErr_Occurred())
        PyErr_Print();
    fprintf(stderr, "fuzz: %s\n", what);
    fflush(stderr);
    abort();
}

static void start_python(void)
{
    PyConfig config;
    PyStatus status;
    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0; /* they are libFuzzer's */
    config.write_bytecode = 0;
    status = PyConfig_SetBytesString(&config, &config.program_name, getenv("FUZZ_PYTHON"));
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
}

static uint32_t hashed(const char *text)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    while (*text)
        hash = (hash ^ (uint8_t)*text++) * 16777619u;
    return hash;
}

/* Counts each line that is reached, by the line before it in the same function call or another: nearly an edge. */
static int count_line(PyObject *unused, PyFrameObject *frame, int what, PyObject *argument)
{
    static uint32_t before;
    PyCodeObject *code;
    const char *file;
    (void)unused, (void)argument;
    if (what != PyTrace_LINE)
        return 0;
    code = PyFrame_GetCode(frame);
    file = PyUnicode_AsUTF8(code->co_filename);
    if (file && strncmp(file, modules, strlen(modules)) == 0) {
        uint32_t here = (hashed(file + strlen(modules)) + (uint32_t)PyFrame_GetLineNumber(frame)) * 2654435761u >> 16;
        uint8_t *count = &lines[(here ^ before >> 1) % COUNTERS];
        *count += *count != 255;
        before = here;
    }
    Py_DECREF(code);
    return 0;
}

/* Tells of lines, if the target wants that. */
static void trace_lines(PyObject *module)
{
    PyObject *traced = PyObject_GetAttrString(module, "TRACED");
    modules = getenv("FUZZ_MODULES");
    if (traced == Py_True && modules)
        PyEval_SetTrace(count_line, NULL);
    PyErr_Clear();
    Py_XDECREF(traced);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char name[100];
    PyObject *module;
    (void)argc, (void)argv;
    if (!getenv("FUZZ_PYTHON") || !getenv("FUZZ_TARGET"))
        give_up("FUZZ_PYTHON and FUZZ_TARGET must be set; scripts/fuzz does that");
    start_python();
    if (PyRun_SimpleString("import logging; logging.disable()")) /* what is said of each input is of no use here */
        give_up("logging cannot be switched off");
    snprintf(name, sizeof name, "fuzz.%s", getenv("FUZZ_TARGET"));
    module = PyImport_ImportModule(name);
    run = module ? PyObject_GetAttrString(module, "run") : NULL;
    if (!run)
        give_up("there is no such target");
    trace_lines(module);
    Py_DECREF(module);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    PyObject *view = PyMemoryView_FromMemory((char *)data, (Py_ssize_t)size, PyBUF_READ);
    PyObject *none = view ? PyObject_CallOneArg(run, view) : NULL;
    if (!none)
        give_up("the target raised");
    Py_DECREF(none);
    Py_DECREF(view);
    return 0;
}
