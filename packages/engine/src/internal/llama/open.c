/*
 * Opens a shared library into the global scope of the process, so that the shim, which names no library, finds its
 * symbols there. Compiled before anything else; no system header, as a user's machine has none.
 */
extern void *dlopen(const char *path, int flags);
extern char *dlerror(void);

#if defined(__APPLE__)
#define RTLD_NOW 2
#define RTLD_GLOBAL 8
#else
#define RTLD_NOW 2
#define RTLD_GLOBAL 0x100
#endif

void *open_global(const char *path) { return dlopen(path, RTLD_NOW | RTLD_GLOBAL); }

/* Text of the last failure; valid until the next call, null where nothing failed. */
char *open_error(void) { return dlerror(); }
