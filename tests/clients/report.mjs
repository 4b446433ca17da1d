// What every client program in JavaScript says of itself, as report.py does.
import { readFileSync } from 'node:fs';

export const KEY = 'key-of-the-client-tests';
export const { S2S_URL, ASR_URL, TTS_URL, S2S_TLS_URL, ASR_TLS_URL, SPEECH } = process.env;
const TIMEOUT_MS = 40_000;
const PAUSE_S = 1;

export function require(holds, what) {
    if (!holds) throw new Error(what);
}

export function requireWords(text) {
    require(text.toLowerCase().includes('forward'), `heard ${JSON.stringify(text)}`);
    return text;
}

// 16-bit mono PCM of the recording (16 kHz) at `rate`, with a pause after it, in slices of 20 ms.
export function speech(rate) {
    const file = readFileSync(SPEECH);
    const start = file.indexOf('data') + 8;
    const samples = new Int16Array(file.buffer.slice(file.byteOffset + start, file.byteOffset + file.length - (file.length % 2)));
    const sound = Buffer.alloc(2 * (Math.floor((samples.length * rate) / 16_000) + rate * PAUSE_S));
    for (let n = 0; n < Math.floor((samples.length * rate) / 16_000); n++) {
        const at = (n * 16_000) / rate;
        const low = samples[Math.floor(at)];
        const high = samples[Math.min(Math.floor(at) + 1, samples.length - 1)];
        sound.writeInt16LE(Math.round(low + (high - low) * (at % 1)), 2 * n);
    }
    const size = 2 * Math.round(rate * 0.02);
    return Array.from({ length: Math.ceil(sound.length / size) }, (_, n) => sound.subarray(n * size, (n + 1) * size));
}

export async function run(client, packageName, features) {
    const about = JSON.parse(readFileSync(new URL(`node_modules/${packageName}/package.json`, import.meta.url)));
    console.log(JSON.stringify({ client, version: about.version }));
    const wanted = process.env.FEATURES?.split(',');
    for (const [feature, trial] of Object.entries(features)) {
        if (wanted && !wanted.includes(feature)) continue;
        let timer;
        const late = new Promise((_, reject) => {
            timer = setTimeout(() => reject(new Error('it takes too long')), TIMEOUT_MS);
        });
        try {
            const note = (await Promise.race([trial(), late])) ?? '';
            console.log(JSON.stringify({ feature, ok: true, note }));
        } catch (error) {
            console.error(error);
            console.log(JSON.stringify({ feature, ok: false, note: String(error).slice(0, 300) }));
        } finally {
            clearTimeout(timer);
        }
    }
    process.exit(0);
}
