/** Let the browser store bytes as a file, under the last name of a path. */
export function saveFile(path: string, data: Uint8Array | string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([data as BlobPart], { type: "application/octet-stream" }));
  link.download = path.split("/").pop() || "file";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href));
}
