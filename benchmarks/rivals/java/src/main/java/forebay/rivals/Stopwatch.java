package forebay.rivals;

import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;

/**
 * Measures from the first record until the last output is acknowledged and its offset is committed.
 *
 * <p>The CPU time is that of the whole process: garbage collector and just-in-time compiler included.
 */
final class Stopwatch {
    private static final OperatingSystemMXBean SYSTEM =
            (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

    private final long events;
    private long done;
    private long beganNs;
    private long beganCpuNs;
    private long endedNs;
    private long endedCpuNs;
    private volatile boolean began;
    private volatile boolean ended;

    Stopwatch(long events) {
        this.events = events;
    }

    /** Starts the watch when records have been received. Later calls have no effect. */
    void first() {
        if (!began) {
            begin();
        }
    }

    private synchronized void begin() {
        if (!began) {
            beganNs = System.nanoTime();
            beganCpuNs = SYSTEM.getProcessCpuTime();
            began = true;
        }
    }

    /** Records that further events are committed. Returns whether all events are. */
    synchronized boolean committed(long count) {
        done += count;
        if (done >= events && !ended) {
            endedNs = System.nanoTime();
            endedCpuNs = SYSTEM.getProcessCpuTime();
            ended = true;
        }
        return ended;
    }

    boolean running() {
        return !ended;
    }

    /** Prints the measurements as one line of JSON. */
    void printResult() throws IOException {
        System.out.printf(
                Locale.ROOT,
                "{\"events\":%d,\"seconds\":%.6f,\"cpu_s\":%.6f,\"peak_rss_mib\":%.1f}%n",
                done,
                (endedNs - beganNs) / 1e9,
                (endedCpuNs - beganCpuNs) / 1e9,
                peakRssMib());
        System.out.flush();
    }

    private static double peakRssMib() throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM")) {
                return Double.parseDouble(line.replaceAll("[^0-9]", "")) / 1024;
            }
        }
        return 0;
    }
}
