/* libFuzzer around one Python function: `run` of the module fuzz.$FUZZ_TARGET, called with each input.

   In: inputs from libFuzzer, the interpreter of a virtual environment in $FUZZ_PYTHON.  Out: an abort when `run` raises.
   The function gets a read-only memoryview of libFuzzer's own copy, which ends at a red zone: a read behind the input is
   seen, also by one byte.  It must not keep the view.  What is measured are the edges of the compiled modules. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static PyObject *run;

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

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char name[100];
    PyObject *module;
    (void)argc, (void)argv;
    if (!getenv("FUZZ_PYTHON") || !getenv("FUZZ_TARGET"))
        give_up("FUZZ_PYTHON and FUZZ_TARGET must be set; scripts/fuzz does that");
    start_python();
    snprintf(name, sizeof name, "fuzz.%s", getenv("FUZZ_TARGET"));
    module = PyImport_ImportModule(name);
    run = module ? PyObject_GetAttrString(module, "run") : NULL;
    if (!run)
        give_up("there is no such target");
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
