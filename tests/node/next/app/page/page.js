export const dynamic = 'force-dynamic';

export default async function Page({ searchParams }) {
  const { name } = await searchParams;
  return <p>{`Hello ${name}`}</p>;
}
