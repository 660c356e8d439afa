/* The real module, the control file, and this process's place in it. Part of faulty.c. */
#ifndef PROCESS_H
#define PROCESS_H

#include "control.h"

static struct control *control;
static int control_file = -1;
static int asked_file = -1; /* -1: nobody wants to know what is asked */
static CK_FUNCTION_LIST *real;
static pthread_mutex_t control_mutex = PTHREAD_MUTEX_INITIALIZER;
static word seen_epoch; /* the epoch whose sessions this process may still use */

static void load(void)
{
	const char *module = getenv("ENGINE_FAULTY_MODULE"), *path = getenv("ENGINE_FAULTY_CONTROL");
	const char *asked = getenv("ENGINE_FAULTY_ASKED");
	CK_RV (*get_function_list)(CK_FUNCTION_LIST **);
	struct stat status;
	void *library, *map;

	if (!module || !path) {
		fprintf(stderr, "faulty module: ENGINE_FAULTY_MODULE and ENGINE_FAULTY_CONTROL must both be set\n");
		return;
	}
	control_file = open(path, O_RDWR | O_CLOEXEC);
	if (control_file < 0 || fstat(control_file, &status) || status.st_size != sizeof(struct control)) {
		fprintf(stderr, "faulty module: %s is not a control file of %zu octets\n", path, sizeof(struct control));
		return;
	}
	map = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, control_file, 0);
	if (map == MAP_FAILED) {
		perror("faulty module: mmap");
		return;
	}
	control = map;
	if (control->magic != CONTROL_MAGIC) {
		fprintf(stderr, "faulty module: %s does not begin with the magic of a control file\n", path);
		return;
	}
	if (asked) {
		asked_file = open(asked, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
		if (asked_file < 0) {
			perror("faulty module: ENGINE_FAULTY_ASKED");
			return;
		}
	}
	/* Deep binding: the real module's own C_ names must not resolve to ours when ours were loaded globally. */
	library = dlopen(module, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
	if (!library) {
		fprintf(stderr, "faulty module: %s\n", dlerror());
		return;
	}
	*(void **)&get_function_list = dlsym(library, "C_GetFunctionList");
	if (!get_function_list || get_function_list(&real) != CKR_OK) {
		fprintf(stderr, "faulty module: %s gives no function list\n", module);
		real = NULL;
	}
	seen_epoch = control->epoch;
}

static bool loaded(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, load);
	return real != NULL;
}

/* One thread of one process at a time; the kernel gives the file lock back when a process is killed. */
static void lock_control(void)
{
	pthread_mutex_lock(&control_mutex);
	while (flock(control_file, LOCK_EX))
		;
}

static void unlock_control(void)
{
	flock(control_file, LOCK_UN);
	pthread_mutex_unlock(&control_mutex);
}

/* A process that was killed and not yet waited for is dead too. */
static bool alive(uint64_t pid)
{
	char path[64], text[512], *state;
	size_t length;
	FILE *file;

	if (kill((pid_t)pid, 0))
		return false;
	snprintf(path, sizeof path, "/proc/%llu/stat", (unsigned long long)pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	length = fread(text, 1, sizeof text - 1, file);
	fclose(file);
	text[length] = '\0';
	state = strrchr(text, ')');
	return state && state[1] == ' ' && state[2] != 'Z' && state[2] != 'X';
}

static struct process *this_process(void)
{
	static struct process *_Atomic own;
	struct process *process = own;
	uint64_t pid = (uint64_t)getpid();

	if (process && process->pid == pid)
		return process;
	lock_control();
	process = NULL;
	for (size_t i = 0; i < PROCESSES && !process; i++)
		if (control->processes[i].pid == pid)
			process = &control->processes[i];
	for (size_t i = 0; i < PROCESSES && !process; i++) {
		if (control->processes[i].pid && alive(control->processes[i].pid))
			continue;
		process = &control->processes[i];
		process->open_sessions = process->calls_in_flight = 0;
		process->signs_in_flight = process->signs_hanging = 0;
		process->pid = pid;
	}
	unlock_control();
	if (!process) {
		fprintf(stderr, "faulty module: more than %d processes use one control file\n", PROCESSES);
		abort();
	}
	own = process;
	return process;
}

static uint64_t all_open_sessions(const struct process *own)
{
	uint64_t open = own->open_sessions;

	for (size_t i = 0; i < PROCESSES; i++) {
		const struct process *other = &control->processes[i];
		if (other != own && other->pid && other->open_sessions && alive(other->pid))
			open += other->open_sessions;
	}
	return open;
}

/* One less of a "how many more" word; false when none is left. */
static bool take(word *remaining)
{
	uint64_t left = *remaining;

	while (left && left != FOREVER)
		if (atomic_compare_exchange_weak(remaining, &left, left - 1))
			return true;
	return left == FOREVER;
}

static void raise_to(word *maximum, uint64_t value)
{
	uint64_t seen = *maximum;

	while (seen < value && !atomic_compare_exchange_weak(maximum, &seen, value))
		;
}

/* What the token is asked to sign, in hex on a line of its own, written before it is asked. */
static void tell_asked(const unsigned char *data, size_t length)
{
	char line[2 * 1024 + 1];

	if (asked_file < 0)
		return;
	if (length > sizeof line / 2)
		length = sizeof line / 2;
	for (size_t i = 0; i < length; i++)
		sprintf(line + 2 * i, "%02x", data[i]);
	line[2 * length] = '\n';
	if (write(asked_file, line, 2 * length + 1) != (ssize_t)(2 * length + 1)) {
		perror("faulty module: ENGINE_FAULTY_ASKED");
		abort();
	}
}

static void pause_ms(uint64_t milliseconds)
{
	struct timespec rest = {(time_t)(milliseconds / 1000), (long)(milliseconds % 1000) * 1000000};

	/* A sleep of nothing still costs the timer's slack, some 50 us a signature. */
	while (milliseconds && clock_nanosleep(CLOCK_MONOTONIC, 0, &rest, &rest))
		;
}

#endif
