/** Pictures that a reader brings: what kind and size they are, known before anything is decoded. */

const MOST_PIXELS = 50e6;
const MOST_BYTES = 64e6;

/**
 * A file as a bitmap.
 * @param {File} file
 * @returns {Promise<{bitmap: ImageBitmap, remark: string}>}
 * @throws {Error} it is no picture that can be used, and why
 */
export async function readPicture(file) {
  const shown = file.name.slice(0, 60);
  if (file.size > MOST_BYTES) {
    throw new Error(`${shown} has ${Math.round(file.size / 1e6)} MB; expected at most ${MOST_BYTES / 1e6}.`);
  }
  const bytes = new DataView(await file.arrayBuffer());
  const found = sizeOf(bytes);
  if (!found) throw new Error(`${shown} is no PNG, JPEG or GIF; save the picture as one of these.`);
  const { kind, width, height } = found;
  if (!(width && height) || width * height > MOST_PIXELS) {
    throw new Error(`${shown} has ${width} × ${height} pixels; expected at most 50 megapixels: make it smaller.`);
  }
  try {
    const bitmap = await createImageBitmap(new Blob([bytes.buffer], { type: `image/${kind}` }));
    return { bitmap, remark: kind === "gif" ? "Of a GIF, the first picture is used." : "" };
  } catch {
    throw new Error(`${shown} is damaged: the browser cannot read it as ${kind.toUpperCase()}.`);
  }
}

/**
 * Kind and size, as the file's first bytes declare them.
 * @param {DataView} bytes
 * @returns {{kind: string, width: number, height: number} | null}
 */
export function sizeOf(bytes) {
  const length = bytes.byteLength;
  if (length >= 24 && bytes.getUint32(0) === 0x89504e47) {
    return { kind: "png", width: bytes.getUint32(16), height: bytes.getUint32(20) };
  }
  if (length >= 10 && bytes.getUint32(0) === 0x47494638) {
    return { kind: "gif", width: bytes.getUint16(6, true), height: bytes.getUint16(8, true) };
  }
  if (length >= 4 && bytes.getUint16(0) === 0xffd8) {
    for (let at = 2; at + 9 <= length && bytes.getUint8(at) === 0xff; at += 2 + bytes.getUint16(at + 2)) {
      const marker = bytes.getUint8(at + 1);
      const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
      if (isFrame) return { kind: "jpeg", width: bytes.getUint16(at + 7), height: bytes.getUint16(at + 5) };
    }
  }
  return null;
}
